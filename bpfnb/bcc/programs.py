"""The functions of a program in bcc's dialect, as libbpf's sections: where a name alone says they go, and loading.

bcc attaches a function by the beginning of its name; everything above this module speaks of sections instead, so that
bcc's functions take the same options and give the same errors as libbpf's (:mod:`bpfnb.kernel.attach`).
"""

from __future__ import annotations

import ctypes
import re
from typing import Any, NamedTuple

from bpfnb.bcc.find import module
from bpfnb.errors import BadValue, VerifierError, nearest
from bpfnb.kernel.libbpf import capture, library
from bpfnb.kernel.load_errors import feature_missing
from bpfnb.kernel.names import ATTACH_TYPES, PROGRAM_TYPES, name_of
from bpfnb.kernel.section_names import SECTIONS
from bpfnb.kernel.sections import newer_section
from bpfnb.kernel.system import mount_tracefs, syscall_function

__all__ = ["Kind", "attach_name", "kind_name", "load_function", "section_kind", "section_of"]

# The beginning of a function's name: the section that it means. The same of every version of bcc since 0.12.
_NAMES = {
    "kprobe__": "kprobe",
    "kretprobe__": "kretprobe",
    "tracepoint__": "tracepoint",
    "raw_tracepoint__": "raw_tp",
    "kfunc__": "fentry",
    "kretfunc__": "fexit",
    "kmod_ret__": "fmod_ret",
    "lsm__": "lsm",
    "bpf_iter__": "iter",
}

# Sections whose target the kernel wants when it loads the program: libbcc takes it from the function's name.
_BY_NAME = {
    "fentry": "KFUNC_PROBE({target}, ...)",
    "fexit": "KRETFUNC_PROBE({target}, ...)",
    "fmod_ret": "KMOD_RET({target}, ...)",
    "lsm": "LSM_PROBE({target}, ...)",
    "iter": "BPF_ITER({target})",
}

# Sections that libbcc cannot load, and what serves instead.
_NOT_BCC = {
    "tp_btf": "use raw_tp, or write the cell in libbpf's dialect",
    "lsm_cgroup": "write the cell in libbpf's dialect",
    "struct_ops": "write the cell in libbpf's dialect",
    "freplace": "write the cell in libbpf's dialect",
    "syscall": "write the cell in libbpf's dialect",
}

_SYSCALL = re.compile(r"(?:__(?:x64|arm64|s390x|riscv)_)?sys_")


class Kind(NamedTuple):
    """What a section's programs are loaded as: numbers of ``enum bpf_prog_type`` and ``enum bpf_attach_type``."""

    program_type: int
    attach_type: int


def section_of(function: str) -> str | None:
    """The section that bcc's automatic attachment means by a function's name, None where it means none.

    ``kprobe__vfs_read`` is ``kprobe/vfs_read``, ``tracepoint__sched__sched_switch`` (what ``TRACEPOINT_PROBE(sched,
    sched_switch)`` defines) is ``tracepoint/sched/sched_switch``.
    """
    for prefix, section in _NAMES.items():
        target = function.removeprefix(prefix)
        if target and target != function:
            if section == "tracepoint":
                return f"{section}/{_tracepoint(target)}"
            if section in ("kprobe", "kretprobe") and _SYSCALL.match(target):
                target = syscall_function(
                    target
                )  # programs name the call, or another machine's function of it
            return f"{section}/{target}"
    return None


def _tracepoint(joined: str) -> str:
    """``CATEGORY/NAME`` of ``category__name``, either of which may hold two underscores itself."""
    parts = joined.split("__")
    ways = ["/".join(("__".join(parts[:at]), "__".join(parts[at:]))) for at in range(1, len(parts))]
    events = mount_tracefs() / "events"
    return next((way for way in ways if (events / way).is_dir()), ways[0] if ways else joined)


def section_kind(section: str) -> Kind:
    """What programs of a section are loaded as. Raises BadValue for sections that a program of bcc cannot have."""
    head = section.partition("/")[0]
    if head in _NOT_BCC:
        raise BadValue(f"a program of bcc's cannot be in section '{section}'", hints=[_NOT_BCC[head]])
    if head.endswith((".s", ".frags")):
        plain = head.rpartition(".")[0]
        raise BadValue(
            f"a program of bcc's cannot be in section '{section}': bcc gives the kernel no program flags",
            hints=[f"use '{section.replace(head, plain, 1)}', or write the cell in libbpf's dialect"],
        )
    if newer := newer_section(section):
        return Kind(*newer[:2])
    program_type, attach_type = ctypes.c_int(), ctypes.c_int()
    with capture():
        code = library().libbpf_prog_type_by_name(
            section.encode(), ctypes.byref(program_type), ctypes.byref(attach_type)
        )
    if code:
        close = nearest(head, [name.rstrip("/") for name in SECTIONS])
        hints = [f"the nearest that exists: {', '.join(close)}"] if close else []
        raise BadValue(f"there is no section '{section}'", hints=hints)
    return Kind(program_type.value, attach_type.value)


def kind_name(section: str) -> str:
    """libbpf's name of the program type of a section (``kprobe`` for uprobes, ``sched_cls`` for tc). BadValue."""
    return name_of(PROGRAM_TYPES, section_kind(section).program_type)


def attach_name(section: str) -> str:
    """libbpf's name of the expected attach type of a section. Raises BadValue."""
    return name_of(ATTACH_TYPES, section_kind(section).attach_type)


def load_function(bpf: Any, function: str, section: str) -> int:
    """A new descriptor of a function of a ``bcc.BPF``, loaded as programs of *section* are; the caller closes it.

    One function may be loaded for several sections. Unlike ``BPF.load_func`` nothing is kept in ``BPF.funcs``.
    Raises BadValue where the function cannot be of that section, VerifierError at the program's lines,
    KernelFeatureMissing, NotPermitted.
    """
    kind = section_kind(section)
    head, _, target = section.partition("/")
    by_name = head in _BY_NAME
    if by_name and section_of(function) != section:
        wanted = _BY_NAME[head].format(target=target or "target")
        raise BadValue(
            f"'{function}' cannot be in section '{section}': bcc takes the target from the function's name",
            hints=[f"define it with {wanted}"],
        )
    lib, name = module().lib, function.encode()
    start = lib.bpf_function_start(bpf.module, name)
    if not start:
        raise BadValue(f"the program has no function '{function}'")
    try:
        fd: int = lib.bcc_func_load(
            bpf.module,
            kind.program_type,
            name,
            start,
            lib.bpf_function_size(bpf.module, name),
            lib.bpf_module_license(bpf.module),
            lib.bpf_module_kern_version(bpf.module),
            0,
            None,
            0,
            None,
            -1 if by_name else kind.attach_type,
        )
    except VerifierError as error:
        if not error.log.strip():  # the kernel refused the kind of program before it looked at this one
            raise feature_missing(section, function, error.errno, "") from None
        error.section = section
        raise
    return fd
