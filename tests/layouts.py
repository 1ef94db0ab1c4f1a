"""Whether C made from BTF has BTF's layouts: clang compiles it, and its own BTF is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfnb.bcc.emit import Emitter
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.scan import Definitions
from bpfnb.btf import Btf, Composite, fields
from bpfnb.compile import find_clang

_STRUCTS = """task_struct sock request sk_buff inode file dentry nsproxy net_device tcp_sock mm_struct vm_area_struct
    signal_struct bio super_block cred page iphdr tcphdr ethhdr sockaddr_in6 in6_addr hrtimer rq cgroup kiocb
    thread_struct pt_regs inet_sock pid"""
STRUCTS = _STRUCTS.split()


def compiled(text: str, tmp_path: Path) -> Btf:
    """The types that clang makes of a C text, where variables keep the named ones."""
    source, target = tmp_path / "types.c", tmp_path / "types.o"
    source.write_text(text)
    done = find_clang().run(
        ["-target", "bpf", "-g", "-O2", "-c", str(source), "-o", str(target)], cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[:2000]
    assert "warning" not in done.stderr, done.stderr[:2000]
    return Btf.from_elf(target.read_bytes())


def emitted(kernel: Kernel, names: list[str], members: frozenset[str] | None, **own: Definitions) -> str:
    emitter = Emitter(kernel, members, own.get("before", Definitions()), own.get("after", Definitions()))
    for name in names:
        found = kernel.tag("struct", name)
        assert found is not None, name
        emitter.want(found)
    return emitter.take()


def places(btf: Btf, name: str) -> dict[str, tuple[int, int, int]]:
    """Member -> (bit offset, bits of a bit field, bytes), without the padding that was put in."""
    found = btf.get(name, "struct")
    assert isinstance(found, Composite)
    return {
        member.name: (member.bit_offset, member.bit_size, btf.size(member.type))
        for member in fields(btf, found)
        if not member.name.startswith("__p") or not member.name[3:].isdigit()
    }


def check_offsets(kernel: Kernel, names: list[str], members: frozenset[str] | None, tmp_path: Path) -> int:
    """Every member that is emitted lies and is as wide as in the kernel's BTF; returns how many were compared."""
    names = [name for name in names if kernel.tag("struct", name)]
    variables = "".join(f"struct {name} v_{name} = {{}};\n" for name in names)
    made = compiled(emitted(kernel, names, members) + variables, tmp_path)
    compared = 0
    for name in names:
        btf, number = kernel.tag("struct", name) or pytest.fail(name)
        assert made.size(made.find(name, "struct")) == btf.size(number), name
        real = {m.name: (m.bit_offset, m.bit_size, btf.size(m.type)) for m in fields(btf, number)}
        for member, place in places(made, name).items():
            assert real[member] == place, f"{name}.{member}"
            compared += 1
    return compared
