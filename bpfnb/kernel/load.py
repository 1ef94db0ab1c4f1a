"""From ELF bytes to a loaded object: open, settle what is decided before loading, load.

What differs from libbpf's own defaults: section names that only newer versions know are understood, ring buffers may
name a value type, a ``max_entries`` of 0 gets a default, and struct_ops maps become links that end with the process.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from bpfnb.btf import Btf, DataSec, Var
from bpfnb.errors import LoadError, MapTypeError, UnknownName, nearest
from bpfnb.kernel import load_errors
from bpfnb.kernel.attach import named
from bpfnb.kernel.backend import LoadSettings, MapInfo, ProgramInfo
from bpfnb.kernel.libbpf import OpenOptions, capture, library, version
from bpfnb.kernel.maps import MMAPABLE, info_of
from bpfnb.kernel.names import ATTACH_TYPES, MAP_TYPES, PROGRAM_TYPES, name_of
from bpfnb.kernel.sections import known_sections, newer_section
from bpfnb.kernel.syscall import info as kernel_info
from bpfnb.kernel.syscall import map_memory, unmap_memory
from bpfnb.kernel.system import mount_bpffs, path, possible_cpus

__all__ = ["Opened", "initial_values", "load_object", "open_object", "settle", "understood"]

DEFAULT_ENTRIES = 10240
DEFAULT_RING_BYTES = 1 << 20
LOG_BYTES = 16 << 20  # a longer log keeps its end (Linux 6.4), and the error is ENOSPC
_RINGS = frozenset({"ringbuf", "user_ringbuf"})
# Kinds whose max_entries is 0 by nature, or set by libbpf or the kernel.
_SIZED_BY_KERNEL = frozenset(
    {
        "perf_event_array",
        "sk_storage",
        "task_storage",
        "inode_storage",
        "cgrp_storage",
        "cgroup_storage",
        "percpu_cgroup_storage",
        "struct_ops",
        "arena",
    }
)
_F_LINK = 1 << 13


@dataclass(slots=True)
class Opened:
    """libbpf's object with what was read from it. ``memory``: address and size of each mapped variable section."""

    pointer: int
    name: str
    program_pointers: dict[str, int] = field(default_factory=dict)
    map_pointers: dict[str, int] = field(default_factory=dict)
    programs: dict[str, ProgramInfo] = field(default_factory=dict)
    maps: dict[str, MapInfo] = field(default_factory=dict)
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Release everything that loading took."""
        for address, size in self.memory.values():
            unmap_memory(address, size)
        self.memory.clear()
        library().bpf_object__close(self.pointer)

    def sections(self) -> dict[str, str]:
        return {
            name: library().bpf_program__section_name(pointer).decode()
            for name, pointer in self.program_pointers.items()
        }


def load_object(elf: bytes, settings: LoadSettings) -> Opened:
    """Open and load. Raises LoadError, VerifierError, AttachError (a target that does not exist), KernelFeatureMissing,
    NotPermitted, MissingDependency, UnknownName (settings that name nothing); nothing stays loaded after any of them.
    """
    lib = library()
    elf = understood(elf)
    # libbpf's own buffer starts small and doubles, and each time the program is verified again. Pages that no log
    # reaches are never touched.
    with capture() as said, mmap.mmap(-1, LOG_BYTES) as log:
        opened = open_object(elf, settings.name, said, log)
        try:
            settle(opened, elf, settings)
            del said[:]
            code = lib.bpf_object__load(opened.pointer)
            if code < 0:
                # A buffer of one's own is not among the messages.
                if text := log[: log.find(b"\0")].decode(errors="replace"):
                    said.append(f"-- BEGIN PROG LOAD LOG --\n{text}-- END PROG LOAD LOG --\n")
                raise load_errors.explain(-code, "".join(said), opened.sections(), opened.maps)
            _read_back(opened)
        except BaseException:
            opened.close()
            raise
    return opened


def understood(elf: bytes) -> bytes:
    """The object as this libbpf understands it."""
    if tuple(map(int, version().split(".")[:2])) < (1, 2):
        # Such a libbpf knows only ".struct_ops". In the ELF's and the BTF's strings the longer name holds the shorter.
        return elf.replace(b".struct_ops.link\0", b".struct_ops\0link\0")
    return elf


def settle(opened: Opened, elf: bytes, settings: LoadSettings) -> None:
    """Decide what has to be decided before loading. Raises LoadError, UnknownName, MapTypeError."""
    _settle_programs(opened, settings)
    _settle_maps(opened, settings)
    _set_globals(opened, elf, settings)


def open_object(elf: bytes, name: str, said: list[str], log: mmap.mmap) -> Opened:
    lib = library()
    # Only such names: libbpf puts them before the names of variable sections, which are recognised by their dot.
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)[:15] or "cell"
    opts = OpenOptions(
        sz=ctypes.sizeof(OpenOptions),
        object_name=clean.encode(),
        kernel_log_buf=_address(log),
        kernel_log_size=len(log),
    )
    pointer = lib.bpf_object__open_mem(elf, len(elf), ctypes.byref(opts))
    if not pointer:
        raise load_errors.not_an_object(ctypes.get_errno(), "".join(said))
    opened = Opened(pointer, clean)
    program = lib.bpf_object__next_program(pointer, None)
    while program:
        opened.program_pointers[lib.bpf_program__name(program).decode()] = program
        program = lib.bpf_object__next_program(pointer, program)
    bpf_map = lib.bpf_object__next_map(pointer, None)
    while bpf_map:
        raw = lib.bpf_map__name(bpf_map).decode()
        internal = lib.bpf_map__is_internal(bpf_map)
        opened.map_pointers[raw[raw.index(".") :] if internal else raw] = bpf_map
        bpf_map = lib.bpf_object__next_map(pointer, bpf_map)
    return opened


def _address(memory: mmap.mmap) -> int:
    view = ctypes.c_char.from_buffer(memory)
    return ctypes.addressof(view)  # the view goes, so that the memory can be closed


def _known(names: object, known: dict[str, int], what: str) -> None:
    for name in names:  # type: ignore[attr-defined]
        if name not in known:
            raise UnknownName.among(known, name, f"the object has no {what} '{name}'")


def _settle_programs(opened: Opened, settings: LoadSettings) -> None:
    lib = library()
    _known(settings.skip, opened.program_pointers, "program")
    for name, section in opened.sections().items():
        program = opened.program_pointers[name]
        if name in settings.skip:
            lib.bpf_program__set_autoload(program, False)
        if not lib.bpf_program__autoload(program) or lib.bpf_program__type(program):
            continue
        newer = newer_section(section)
        if newer is None:
            if section == ".text":
                raise LoadError(
                    f"nothing says where '{name}' runs",
                    errno=22,
                    hints=[
                        f'write its hook before it: SEC("tracepoint/syscalls/sys_enter_openat") int {name}(...)',
                        '`%bpf find "*openat*"` searches all hooks',
                    ],
                )
            close = nearest(section.split("/")[0], known_sections())
            raise LoadError(
                f"program '{name}' is in section '{section}', which no program type has",
                errno=22,
                hints=[
                    f"did you mean {' or '.join(close)}?"
                    if close
                    else f"sections start with one of: {', '.join(known_sections())}"
                ],
            )
        kind, attach, flags = newer
        lib.bpf_program__set_type(program, kind)
        lib.bpf_program__set_expected_attach_type(program, attach)
        lib.bpf_program__set_flags(program, lib.bpf_program__flags(program) | flags)


def _settle_maps(opened: Opened, settings: LoadSettings) -> None:
    lib = library()
    for names in (settings.max_entries, settings.pins, settings.reuse):
        _known(names, opened.map_pointers, "map")
    for name, pointer in opened.map_pointers.items():
        if name in settings.reuse:
            code = lib.bpf_map__reuse_fd(pointer, settings.reuse[name])
            if code:
                raise LoadError(
                    f"descriptor {settings.reuse[name]} cannot serve as map '{name}'", errno=-code
                )
        info = _declared(name, pointer)
        if info.kind in _RINGS and (info.key_size or info.value_size):
            lib.bpf_map__set_key_size(pointer, 0)
            lib.bpf_map__set_value_size(pointer, 0)
            info = replace(info, key_size=0, value_size=0)
        if info.kind == "perf_event_array":  # its value type, if any, is that of the records
            lib.bpf_map__set_key_size(pointer, 4)
            lib.bpf_map__set_value_size(pointer, 4)
            info = replace(info, key_size=4, value_size=4)
        if info.kind == "struct_ops" and _kernel_has_struct_ops_links():
            lib.bpf_map__set_map_flags(pointer, info.flags | _F_LINK)
        entries = settings.max_entries.get(name, info.max_entries)
        if not entries and info.kind not in _SIZED_BY_KERNEL:
            entries = _default_entries(info.kind)
            unit = "bytes" if info.kind in _RINGS else "entries"
            opened.warnings.append(f"map '{name}' has max_entries 0: loaded with {entries} {unit}")
        if entries != info.max_entries:
            lib.bpf_map__set_max_entries(pointer, entries)
        if name in settings.pins:
            lib.bpf_map__set_pin_path(pointer, settings.pins[name].encode())
        pin = lib.bpf_map__pin_path(pointer)
        if pin:
            mount_bpffs(Path(pin.decode()))
        opened.maps[name] = replace(info, max_entries=entries)


def _default_entries(kind: str) -> int:
    if kind in _RINGS:
        return DEFAULT_RING_BYTES
    return possible_cpus() if kind == "cpumap" else DEFAULT_ENTRIES


def _kernel_has_struct_ops_links() -> bool:
    """struct_ops links came with Linux 6.4; the flag's name is in the kernel's types."""
    return b"\0BPF_F_LINK\0" in path("/sys/kernel/btf/vmlinux").read_bytes()


def _declared(name: str, pointer: int) -> MapInfo:
    """A map as the object declares it. libbpf forgets types and inner maps when it loads."""
    lib = library()
    inner = lib.bpf_map__inner_map(pointer)
    return MapInfo(
        name=name,
        kind=name_of(MAP_TYPES, lib.bpf_map__type(pointer)),
        id=0,
        fd=-1,
        key_size=lib.bpf_map__key_size(pointer),
        value_size=lib.bpf_map__value_size(pointer),
        max_entries=lib.bpf_map__max_entries(pointer),
        flags=lib.bpf_map__map_flags(pointer),
        key_type=lib.bpf_map__btf_key_type_id(pointer),
        value_type=lib.bpf_map__btf_value_type_id(pointer),
        internal=name if lib.bpf_map__is_internal(pointer) else "",
        inner=_declared(f"{name}.inner", inner) if inner else None,
    )


def _set_globals(opened: Opened, elf: bytes, settings: LoadSettings) -> None:
    if not settings.globals:
        return
    btf = Btf.from_elf(elf)
    places: dict[str, tuple[str, int, int]] = {}
    for number in btf.ids("datasec"):
        section = btf[number]
        if isinstance(section, DataSec) and section.name in opened.map_pointers:
            for var_id, offset, size in section.variables:
                variable = btf[var_id]
                if isinstance(variable, Var):
                    places[variable.name] = section.name, offset, size
    _known(settings.globals, dict.fromkeys(places, 0), "global variable")
    for name, data in settings.globals.items():
        section_name, offset, size = places[name]
        address, room = initial_values(opened.map_pointers[section_name])
        if len(data) != size or offset + size > room:
            raise MapTypeError(f"variable '{name}' has {size} bytes, not {len(data)}", map=section_name)
        ctypes.memmove(address + offset, data, size)


def initial_values(pointer: int) -> tuple[int, int]:
    """Address and size of a section's initial values."""
    size = ctypes.c_size_t()
    return library().bpf_map__initial_value(pointer, ctypes.byref(size)) or 0, size.value


def _read_back(opened: Opened) -> None:
    """What only loading settles: descriptors, ids, sizes that libbpf or a reused map decided."""
    lib = library()
    for name, pointer in opened.map_pointers.items():
        fd = lib.bpf_map__fd(pointer)
        if fd < 0:  # a map that the kernel needs not have (unused .kconfig, autocreate off)
            opened.maps.pop(name, None)
            continue
        declared, real = opened.maps[name], info_of(fd, name)
        opened.maps[name] = replace(
            real,
            key_type=declared.key_type,
            value_type=declared.value_type,
            internal=declared.internal,
            inner=declared.inner,
        )
        if declared.internal and real.flags & MMAPABLE:
            # libbpf 1.1 shares a section's memory with the kernel for skeletons only
            writable = not name.startswith((".rodata", ".kconfig"))
            opened.memory[name] = map_memory(fd, real.value_size, writable=writable), real.value_size
    structs = False
    for name, section in opened.sections().items():
        pointer = opened.program_pointers[name]
        fd = lib.bpf_program__fd(pointer)
        if fd < 0:
            continue
        kind = name_of(PROGRAM_TYPES, lib.bpf_program__type(pointer))
        # The programs of a struct_ops are registered together, by the first of them.
        auto = named(section) and not (kind == "struct_ops" and structs)
        structs = structs or kind == "struct_ops"
        opened.programs[name] = ProgramInfo(
            name=name,
            section=section,
            kind=kind,
            attach_type=name_of(ATTACH_TYPES, lib.bpf_program__expected_attach_type(pointer)),
            id=int.from_bytes(kernel_info(fd, 8)[4:8], "little"),
            auto_attach=auto,
        )
