"""The files that disposable kernels are made of: archives, kernel images, the order of releases, modules."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest

from bpfnb.errors import BadValue
from bpfnb.vm import clock, kernels, template
from bpfnb.vm.features import offers
from bpfnb.vm.image import btf_of, release_of, vmlinux_of
from bpfnb.vm.initramfs import archive
from bpfnb.vm.kernels import Kernel, order


def elf(sections: dict[bytes, bytes]) -> bytes:
    """A 64-bit ELF file with these sections."""
    names = b"\0" + b"\0".join([*sections, b".shstrtab"]) + b"\0"
    everything = {**sections, b".shstrtab": names}
    body, headers, at = b"", [bytes(64)], 64
    for name, data in everything.items():
        headers.append(
            struct.pack("<IIQQQQ", names.index(b"\0" + name + b"\0") + 1, 1, 0, 0, at, len(data)).ljust(
                64, b"\0"
            )
        )
        body += data
        at += len(data)
    head = b"\x7fELF".ljust(0x28, b"\0") + struct.pack("<Q10xHHH", at, 64, len(headers), len(headers) - 1)
    return head.ljust(64, b"\0") + body + b"".join(headers)


VMLINUX = elf({b".data": b"Linux version 9.1.2-test (x@y) #1", b".BTF": b"types", b".BTF_ids": b"no"})


def bzimage(payload: bytes, size: int) -> bytes:
    image = bytearray(0x1000)
    image[0x1F1] = 3
    image[0x1FE:0x200], image[0x202:0x206] = b"\x55\xaa", b"HdrS"
    data = payload + struct.pack("<I", size)
    struct.pack_into("<II", image, 0x248, 0x100, len(data))
    image[4 * 512 + 0x100 : 4 * 512 + 0x100 + len(data)] = data
    return bytes(image)


def zstd(data: bytes) -> bytes:
    import pyarrow as pa

    return pa.Codec("zstd").compress(data).to_pybytes()


@pytest.mark.parametrize(
    "compress", [gzip.compress, lzma.compress, zstd, lambda d: lzma.compress(d, lzma.FORMAT_ALONE)]
)
def test_a_kernel_is_taken_out_of_its_image(compress):
    assert vmlinux_of(bzimage(compress(VMLINUX), len(VMLINUX))) == VMLINUX


def test_types_and_release_of_a_kernel():
    assert vmlinux_of(VMLINUX) == VMLINUX
    assert btf_of(VMLINUX) == b"types"
    assert release_of(VMLINUX) == "9.1.2-test"


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", bytes(2000)])
def test_what_is_no_kernel_is_refused(data):
    with pytest.raises(BadValue, match="no kernel"):
        vmlinux_of(data)


def test_a_kernel_without_types_is_refused():
    with pytest.raises(BadValue, match="no type information"):
        btf_of(elf({b".text": b""}))


def test_a_kernel_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage(gzip.compress(VMLINUX), len(VMLINUX)))
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "virtio_console.ko.xz").write_bytes(lzma.compress(b"\0depends=virtio,virtio-ring\0 console"))
    (folder / "virtio.ko").write_bytes(b"\0depends=\0 virtio")
    (folder / "virtio_ring.ko").write_bytes(b"\0depends=virtio\0 ring")
    (folder / "sound.ko").write_bytes(b"\0depends=\0")
    kernel = kernels.find(path)
    assert (kernel.release, kernel.version) == ("9.1.2-test", (9, 1))
    assert kernel.vmlinux.read_bytes() == VMLINUX
    assert kernel.btf.read_bytes() == b"types"
    assert [module.name for module in kernel.modules()] == [
        "virtio.ko",
        "virtio_ring.ko",
        "virtio_console.ko",
    ]
    assert kernel.modules()[2].read_bytes().endswith(b"console")
    with pytest.raises(BadValue, match="cannot read the kernel"):
        kernels.find(tmp_path / "absent")


def test_releases_in_order():
    releases = [
        "6.12.9+deb12-amd64",
        "6.1.0-56-amd64",
        "6.12.117+deb12-amd64",
        "6.1.0-0.deb11.52-amd64",
        "7.0.4+deb13-amd64",
    ]
    assert sorted(releases, key=order) == [releases[3], releases[1], releases[0], releases[2], releases[4]]


def test_an_archive_has_the_kernels_form():
    """As init/initramfs.c reads it: hexadecimal fields, names and data each padded to 4 bytes."""
    data = archive(("bin",), {"init": b"#!", "bin/odd": b"12345"}, {"bin/link": "odd"})
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = -(-(at + 110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            break
        found[name] = fields[1], data[start : start + fields[6]]
        at = -(-(start + fields[6]) // 4) * 4
    assert found == {
        "bin": (0o040755, b""),
        "init": (0o100755, b"#!"),
        "bin/odd": (0o100755, b"12345"),
        "bin/link": (0o120777, b"odd"),
    }


def test_hooks_are_offered_by_types_and_configuration(tmp_path):
    (tmp_path / "vmlinux.btf").write_bytes(b"\0BPF_TCX_INGRESS\0BPF_LSM_MAC\0BPF_TRACE_KPROBE_MULTI\0")
    (tmp_path / "config").write_text("CONFIG_KPROBES=y\nCONFIG_BPF_LSM=y\n# CONFIG_FPROBE is not set\n")
    found = offers(Kernel("9.1.2", tmp_path))
    wanted = {"kprobe": True, "lsm": True, "tcx": True, "kprobe.multi": False, "arena": False}
    assert {hook: found[hook] for hook in wanted} == wanted


def test_a_processor_is_the_same_at_another_speed():
    first = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: {}\nbogomips\t: 5990.40"
    text = f"{first}\n\n{first.replace('0', '1')}\n"
    found = template._processor(text.format("1200.013", "800.2"))
    assert found == "processor\t: 0\nmodel name\t: A\nbogomips\t: 5990.40"
    assert found == template._processor(text.format("3399.871", "3100.0"))
    assert found != template._processor(text.replace("A", "B"))


@pytest.mark.parametrize("measured", [2_995_200, 0])
def test_a_snapshot_is_of_one_rate_of_the_clock(tmp_path, monkeypatch, measured):
    """What is measured varies; what was measured on another machine is none of this one's."""
    monkeypatch.setattr(clock, "tsc_khz", lambda: measured)

    def usable(khz: str) -> bool:
        (tmp_path / "khz").write_text(khz)
        return template._of_this_machine(tmp_path)

    (tmp_path / "khz").write_text(str(measured))
    assert not template._of_this_machine(tmp_path), "its state is written last"
    (tmp_path / "state").touch()
    assert [usable(str(khz)) for khz in (measured, 2_990_000, 3_000_000)] == [True, *[measured > 0] * 2]
    assert not any(
        usable(khz) for khz in ("2970000", "3020000", "5990400", "0" if measured else "1", "", "x")
    )
    (tmp_path / "khz").unlink()
    assert not template._of_this_machine(tmp_path), "it was made before rates were kept"
