"""Types that only modules of a distribution's kernel have: what a program names is found there, and only that.

The kernel that runs the tests need not have modules, so it is Debian's, with the split BTF of its modules' files;
offline these tests are skipped. What its real headers give is the reference.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from layouts import compiled, emitted, places

from bench import distribution
from bench.bcc_compile import compile_all
from bpfnb.bcc import modules as modules_
from bpfnb.bcc.checks import asserts, check
from bpfnb.bcc.find import module
from bpfnb.bcc.headers import Headers, Program, for_program, static_tree
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.messages import Unit, compile_error
from bpfnb.bcc.modules import Modules
from bpfnb.btf import Composite, fields
from bpfnb.errors import MissingDependency

NFT = """
#include <net/netfilter/nf_tables.h>
BPF_HASH(uses, u32, u64);
int kprobe__nf_tables_addchain(struct pt_regs *ctx, struct nft_ctx *at, struct nft_chain *chain) {
    u32 use = chain->use;
    u64 value = at->table->handle + at->portid + at->family;
    uses.update(&use, &value);
    return 0;
}
"""
SCSI = """
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>
BPF_HASH(ids, u32, u64);
int kprobe__scsi_device_get(struct pt_regs *ctx, struct scsi_device *device) {
    u32 id = device->id;
    u64 value = device->lun + device->host->host_no + (device->sdev_state == SDEV_RUNNING);
    ids.update(&id, &value);
    return 0;
}
"""
IPVS = """
#include <net/ip_vs.h>
BPF_HASH(counts, u32, u64);
int kprobe__ip_output(struct pt_regs *ctx, struct net *net) {
    u32 generation = net->ipvs->gen;
    u64 value = net->ipvs->enable + net->ipvs->drop_rate;
    counts.update(&generation, &value);
    return 0;
}
"""
XFS = """
BPF_HASH(sizes, u64, u64);
int kprobe__xfs_file_fsync(struct pt_regs *ctx, struct xfs_inode *ip) {
    xfs_ino_t number = ip->i_ino;
    u64 blocks = ip->i_nblocks;
    sizes.update(&number, &blocks);
    return 0;
}
"""
PLAIN = """
BPF_HASH(counts, u32, u64);
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file) {
    struct key_t { u32 pid; } key = { .pid = file->f_flags };
    counts.increment(key.pid);
    return 0;
}
"""


def with_modules(readers: Mapping[str, Callable[[], bytes]]) -> Kernel:
    kernel = distribution.kernel()
    return replace(kernel, modules=Modules(kernel.btf, readers))


class Kept:
    """Modules of Debian's kernel, and the names of those that were read."""

    def __init__(self, names: list[str]) -> None:
        self.read: list[str] = []
        readers = distribution.modules()
        self.kernel = with_modules({name: self._reader(name, readers) for name in names})

    def _reader(self, name: str, readers: Mapping[str, Callable[[], bytes]]) -> Callable[[], bytes]:
        def read() -> bytes:
            self.read.append(name)
            return readers[name]()

        return read

    def headers(self, text: str) -> Headers:
        return for_program(Program(text), self.kernel)

    def names(self, headers: Headers) -> list[str]:
        assert self.kernel.modules is not None
        return [self.kernel.modules.name_of(btf) for btf in headers.kernel.reached]


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    try:
        module()
        distribution.merged_headers()
    except (distribution.Unavailable, MissingDependency) as error:
        pytest.skip(f"no packages: {error}")


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("text", "expected"),
    [(NFT, ["nf_tables"]), (SCSI, ["scsi_mod"]), (IPVS, ["ip_vs"])],
    ids=["nft_ctx", "scsi_device", "what a pointer of the kernel's leads to"],
)
def test_the_code_is_that_of_the_real_headers(text: str, expected: list[str]) -> None:
    kept = Kept(["xfs", "nf_tables", "scsi_mod", "ip_vs", "ext4"])
    headers = kept.headers(text)
    assert kept.names(headers) == expected
    ours, theirs = compile_all([(text, (), headers.path), (text, (), distribution.merged_headers())])
    assert theirs.functions, theirs.log
    assert ours.functions == theirs.functions, ours.log
    without = for_program(Program(text), distribution.kernel())
    (failed,) = compile_all([(text, (), without.path)])
    assert failed.functions is None
    assert "incomplete" in failed.log


def test_a_type_without_public_header_lies_as_the_modules_btf_says(tmp_path: Path) -> None:
    """struct xfs_inode is private to xfs: no headers could serve this program."""
    kept = Kept(["xfs", "ext4"])
    headers = kept.headers(XFS)
    assert kept.names(headers) == ["xfs"]
    (ours,) = compile_all([(XFS, (), headers.path)])
    assert ours.functions, ours.log
    btf, number = headers.kernel.tag("struct", "xfs_inode") or pytest.fail("no xfs_inode")
    real = {m.name: (m.bit_offset, m.bit_size, btf.size(m.type)) for m in fields(btf, number)}
    for members in (None, frozenset({"i_ino", "i_nblocks"})):
        text = emitted(headers.kernel, ["xfs_inode"], members)
        made = compiled(text + "\nstruct xfs_inode one = {};", tmp_path)
        got = places(made, "xfs_inode")
        assert got.items() <= real.items()
        assert {"i_ino", "i_nblocks"} <= got.keys()
        assert made.size(made.find("struct xfs_inode")) == btf.size(number)


def test_modules_are_read_only_for_what_the_kernel_lacks() -> None:
    kept = Kept(["xfs", "ext4"])
    assert kept.headers(PLAIN).kernel is kept.kernel
    assert kept.read == []
    assert kept.names(kept.headers(XFS)) == ["xfs"]
    kept.headers(XFS.replace("i_nblocks", "i_diflags"))
    assert sorted(kept.read) == ["ext4", "xfs"]  # each once, however many programs there are


def test_a_type_that_two_modules_share_is_one() -> None:
    """scsi_mod and sd_mod each have struct scsi_device, the same one: no second name and no warning of it."""
    kept = Kept(["scsi_mod", "sd_mod"])
    headers = kept.headers(SCSI)
    assert kept.names(headers) == ["scsi_mod"]
    assert check(Program(SCSI), headers, headers.kernel, "cell") == []
    both = kept.kernel.complete()
    assert len(both.reached) == 2
    assert all(isinstance(btf.get("struct scsi_device"), Composite) for btf in both.reached)
    assert len(both.variants("struct", "scsi_device")) == 1
    made = emitted(both, ["scsi_disk", "scsi_device", "Scsi_Host"], None)
    assert "scsi_device___2" not in made
    assert made.count("struct scsi_device {") == 1


E1000 = """
BPF_HASH(counts, u64, u64);
int kprobe__FUNCTION(struct pt_regs *ctx, struct e1000_hw *hw) {
    counts.increment((u64)hw->hw_addr);
    return 0;
}
"""


@pytest.mark.parametrize(("function", "taken"), [("e1000e_reset", "e1000e"), ("igb_reset", "igb")])
def test_different_types_of_one_name_are_warned_of(function: str, taken: str) -> None:
    """Three drivers have a struct e1000_hw each: that of the module which has the function is taken."""
    kept = Kept(["e1000", "e1000e", "igb"])
    text = E1000.replace("FUNCTION", function)
    headers = kept.headers(text)
    assert kept.names(headers)[0] == taken
    (warning,) = check(Program(text), headers, headers.kernel, "cell")
    assert warning.where is not None
    assert (warning.severity, warning.where.line) == ("warning", 3)
    assert f"have different types 'struct e1000_hw'; that of {taken} is taken" in warning.message
    btf, number = headers.kernel.tag("struct", "e1000_hw") or pytest.fail("no e1000_hw")
    assert kept.kernel.module_of((btf, number)) == taken
    assert (
        f'sizeof(struct e1000_hw) == {btf.size(number)}, "'
        in (headers.path / "include/linux/kconfig.h").read_text()
    )


def test_a_copy_of_a_modules_struct_is_compared_with_it() -> None:
    kept = Kept(["xfs", "ext4"])
    text = XFS.replace(
        "int kprobe", "struct xfs_inode { unsigned long i_ino; unsigned long i_nblocks; };\nint kprobe"
    )
    headers = kept.headers(text.replace("xfs_ino_t", "u64"))
    _, meant = asserts(headers, headers.kernel)
    assert {key.rsplit(":", 1)[-1] for key in meant} == {
        "struct xfs_inode.i_ino",
        "struct xfs_inode.i_nblocks",
    }


def test_a_type_of_a_module_that_the_program_does_not_name() -> None:
    """A pointer led to it: the error says that naming it is enough."""
    kept = Kept(["xfs", "nf_tables"])
    log = "/virtual/main.c:4:9: error: incomplete definition of type 'struct xfs_mount'"
    error = compile_error(log, Unit(XFS, kernel=kept.kernel))
    assert error.hints == (
        "struct xfs_mount is a type of a module: bpfnb finds it where the program's own text names 'struct xfs_mount'",
    )


def test_a_type_of_a_module_that_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(["ext4"])
    release = kept.kernel.release
    (tmp_path / release / "kernel/fs").mkdir(parents=True)
    image = next(path for path in distribution.image_root().rglob("xfs.ko"))
    shutil.copy(image, tmp_path / release / "kernel/fs/xfs.ko")
    (tmp_path / release / "modules.dep").write_text(
        "kernel/fs/xfs.ko: kernel/lib/libcrc32c.ko\nkernel/fs/gone.ko:\n"
    )
    monkeypatch.setattr(modules_, "LIBRARY", tmp_path)
    log = "/virtual/main.c:4:9: error: incomplete definition of type 'struct xfs_inode'"
    error = compile_error(log, Unit(XFS, kernel=kept.kernel))
    assert error.hints == ("struct xfs_inode is a type of module xfs, which is not loaded: modprobe xfs",)
    other = compile_error(log.replace("xfs_inode", "xfs_nothing"), Unit(XFS, kernel=kept.kernel))
    assert "has no struct xfs_nothing" in other.hints[0]


def test_a_module_that_cannot_be_read_hides_no_other() -> None:
    def refused() -> bytes:
        raise PermissionError(1, "Operation not permitted")

    readers = {
        "xfs": distribution.modules()["xfs"],
        "closed": refused,
        "damaged": lambda: b"\x9f\xeb xfs_inode\0" + bytes(30),
    }
    kernel = with_modules(readers)
    headers = for_program(Program(XFS), kernel)
    assert kernel.modules is not None
    assert [kernel.modules.name_of(btf) for btf in headers.kernel.reached] == ["xfs"]
    assert kernel.modules.unreadable.keys() == {"closed", "damaged"}
    assert "Operation not permitted" in kernel.modules.unreadable["closed"]


@pytest.mark.timeout(300)
def test_the_static_tree_has_modules_on_request() -> None:
    kept = Kept(["xfs", "ext4", "jbd2"])
    (ours,) = compile_all([(XFS, (), static_tree(kept.kernel.complete()))])
    assert ours.functions, ours.log
    assert "warning" not in ours.log
    (pruned,) = compile_all([(XFS, (), kept.headers(XFS).path)])
    assert ours.functions == pruned.functions
    (without,) = compile_all([(XFS, (), static_tree(kept.kernel))])
    assert without.functions is None
