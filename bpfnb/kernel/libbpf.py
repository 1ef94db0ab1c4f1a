"""The system's libbpf.so.1 through ctypes: prototypes, and its messages captured instead of printed.

libbpf prints through one function of the whole process. bpfnb's keeps what a thread's own calls say for that thread
(:func:`capture`) and drops the rest, so nothing reaches the terminal and loads in several threads do not mix.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import threading
from collections.abc import Iterator
from functools import cache

from bpfnb.errors import MissingDependency

__all__ = ["OpenOptions", "capture", "library", "options", "pointer_or_error", "version"]

_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_DEBUG = 2

_p, _s, _i, _u32, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_size_t

# name: (result, arguments). Names of libbpf 1.1; what newer versions add is done by hand in syscall.py.
_PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "bpf_object__open_mem": (_p, (_s, _size, _p)),
    "bpf_object__load": (_i, (_p,)),
    "bpf_object__close": (None, (_p,)),
    "bpf_object__next_program": (_p, (_p, _p)),
    "bpf_object__next_map": (_p, (_p, _p)),
    "bpf_object__btf": (_p, (_p,)),
    "btf__raw_data": (_p, (_p, ctypes.POINTER(_u32))),
    "bpf_program__name": (_s, (_p,)),
    "bpf_program__section_name": (_s, (_p,)),
    "bpf_program__fd": (_i, (_p,)),
    "bpf_program__type": (_i, (_p,)),
    "bpf_program__set_type": (_i, (_p, _i)),
    "bpf_program__expected_attach_type": (_i, (_p,)),
    "bpf_program__set_expected_attach_type": (_i, (_p, _i)),
    "bpf_program__flags": (_u32, (_p,)),
    "bpf_program__set_flags": (_i, (_p, _u32)),
    "bpf_program__autoload": (ctypes.c_bool, (_p,)),
    "bpf_program__set_autoload": (_i, (_p, ctypes.c_bool)),
    "bpf_map__name": (_s, (_p,)),
    "bpf_map__fd": (_i, (_p,)),
    "bpf_map__type": (_i, (_p,)),
    "bpf_map__is_internal": (ctypes.c_bool, (_p,)),
    "bpf_map__key_size": (_u32, (_p,)),
    "bpf_map__set_key_size": (_i, (_p, _u32)),
    "bpf_map__value_size": (_u32, (_p,)),
    "bpf_map__set_value_size": (_i, (_p, _u32)),
    "bpf_map__max_entries": (_u32, (_p,)),
    "bpf_map__set_max_entries": (_i, (_p, _u32)),
    "bpf_map__map_flags": (_u32, (_p,)),
    "bpf_map__set_map_flags": (_i, (_p, _u32)),
    "bpf_map__btf_key_type_id": (_u32, (_p,)),
    "bpf_map__btf_value_type_id": (_u32, (_p,)),
    "bpf_map__initial_value": (_p, (_p, ctypes.POINTER(_size))),
    "bpf_map__inner_map": (_p, (_p,)),
    "bpf_map__pin_path": (_s, (_p,)),
    "bpf_map__set_pin_path": (_i, (_p, _s)),
    "bpf_map__reuse_fd": (_i, (_p, _i)),
    "bpf_map__attach_struct_ops": (_p, (_p,)),
    "bpf_program__attach": (_p, (_p,)),
    "bpf_program__attach_perf_event_opts": (_p, (_p, _i, _p)),
    "bpf_program__attach_tracepoint_opts": (_p, (_p, _s, _s, _p)),
    "bpf_program__attach_raw_tracepoint": (_p, (_p, _s)),
    "bpf_program__attach_trace_opts": (_p, (_p, _p)),
    "bpf_program__attach_kprobe_opts": (_p, (_p, _s, _p)),
    "bpf_program__attach_ksyscall": (_p, (_p, _s, _p)),
    "bpf_program__attach_uprobe_opts": (_p, (_p, _i, _s, _size, _p)),
    "bpf_program__attach_usdt": (_p, (_p, _i, _s, _s, _s, _p)),
    "bpf_program__attach_iter": (_p, (_p, _p)),
    "bpf_link__destroy": (_i, (_p,)),
    "bpf_link__disconnect": (None, (_p,)),
    "bpf_link__fd": (_i, (_p,)),
    "bpf_tc_hook_create": (_i, (_p,)),
    "bpf_tc_attach": (_i, (_p, _p)),
    "bpf_tc_detach": (_i, (_p, _p)),
    "libbpf_prog_type_by_name": (_i, (_s, ctypes.POINTER(_i), ctypes.POINTER(_i))),
    "libbpf_set_print": (_p, (_Print,)),
    "libbpf_version_string": (_s, ()),
}


class OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts"""

    _fields_ = (
        ("sz", _size),
        ("object_name", _s),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", _s),
        ("_attach_prog_fd", _u32),
        ("kconfig", _s),
        ("btf_custom_path", _s),
        ("kernel_log_buf", _p),
        ("kernel_log_size", _size),
        ("kernel_log_level", _u32),
    )


def options(*fields: tuple[type, int | bytes | bool | None]) -> ctypes.Structure:
    """One of libbpf's ``struct *_opts``: its size, then the given (C type, value) fields."""
    members = [("sz", _size), *((f"f{n}", kind) for n, (kind, _) in enumerate(fields))]
    structure = type("opts", (ctypes.Structure,), {"_fields_": members})
    made: ctypes.Structure = structure(ctypes.sizeof(structure), *(value for _, value in fields))
    return made


_captured = threading.local()


def _on_print(level: int, text: int, arguments: int) -> int:
    messages = getattr(_captured, "messages", None)
    if messages is None or level > _captured.level:
        return 0
    out = ctypes.c_void_p()
    if _vasprintf(ctypes.byref(out), text, arguments) >= 0 and out.value:
        messages.append(ctypes.string_at(out.value).decode(errors="replace"))
        _free(out)
    return 0


_callback = _Print(_on_print)
_libc = ctypes.CDLL(None)
_vasprintf, _free = _libc.vasprintf, _libc.free
_vasprintf.argtypes = (_p, _p, _p)
_free.argtypes = (_p,)
_free.restype = None


@cache
def library() -> ctypes.CDLL:
    """libbpf, loaded once. Raises MissingDependency."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise MissingDependency(
            "libbpf.so.1 was not found",
            hints=["install it: `apt install libbpf1` (Debian, Ubuntu), `dnf install libbpf` (Fedora)"],
            log=str(error),
        ) from None
    for name, (result, arguments) in _PROTOTYPES.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise MissingDependency(
                f"libbpf {_version(lib)} is too old: it has no {name}",
                hints=["bpfnb needs libbpf 1.1 or newer"],
            ) from None
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(_callback)
    return lib


def _version(lib: ctypes.CDLL) -> str:
    lib.libbpf_version_string.restype = _s
    return str(lib.libbpf_version_string().decode().removeprefix("v"))


def version() -> str:
    """libbpf's version, for example "1.1"."""
    return _version(library())


@contextlib.contextmanager
def capture(*, debug: bool = False) -> Iterator[list[str]]:
    """What libbpf says in this thread inside the block, one string a message."""
    lib = library()
    lib.libbpf_set_print(_callback)  # another user of libbpf in this process may have set its own meanwhile
    outer = getattr(_captured, "messages", None), getattr(_captured, "level", 0)
    messages: list[str] = []
    _captured.messages, _captured.level = messages, _DEBUG if debug else _DEBUG - 1
    try:
        yield messages
    finally:
        _captured.messages, _captured.level = outer


def pointer_or_error(pointer: int | None) -> int:
    """A pointer from libbpf, or OSError with the errno that libbpf left for NULL."""
    if pointer:
        return pointer
    code = ctypes.get_errno()
    raise OSError(code, f"error {code}")
