"""What every way of attaching shares: the program, its options, and errors that name what is missing."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfnb.errors import AttachError, BpfnbError, NotPermitted, nearest
from bpfnb.kernel import attach_fd, load_errors, syscall
from bpfnb.kernel.backend import MapInfo, ProgramInfo
from bpfnb.kernel.binaries import find_binary
from bpfnb.kernel.libbpf import library
from bpfnb.kernel.links import Link, libbpf_link
from bpfnb.kernel.names import attach_type
from bpfnb.kernel.system import cgroup_root, missing_capabilities, open_fd

__all__ = ["Program"]


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program about to be attached, and the options it was given."""

    info: ProgramInfo
    pointer: int  # libbpf's struct bpf_program; 0 where libbpf did not load it
    fd: int
    options: Mapping[str, Any]
    maps: Mapping[str, MapInfo]
    map_pointers: Mapping[str, int]
    said: list[str]  # libbpf's messages while attaching

    @property
    def section(self) -> str:
        return self.info.section

    @property
    def target(self) -> str:
        """What follows the section's first slash."""
        return self.section.partition("/")[2]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.options.get(name)
        return default if value is None else value

    @property
    def attach_type(self) -> int:
        if not self.pointer:
            return attach_type(self.info.attach_type)
        return int(library().bpf_program__expected_attach_type(self.pointer))

    def link(self, function: str, *arguments: Any) -> Link:
        """The link that a ``bpf_program__attach*`` function makes. Raises OSError."""
        if not self.pointer:
            return attach_fd.link(self, function, *arguments)
        pointer = getattr(library(), function)(self.pointer, *arguments)
        if not pointer:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return libbpf_link(pointer)

    def call(self, function: str, *structures: ctypes.Structure) -> int:
        """What a function of libbpf returns that is given the addresses of *structures*, and may change them."""
        code: int = getattr(library(), function)(*(ctypes.byref(structure) for structure in structures))
        return code

    def fail(self, message: str, code: int = 0, hints: Sequence[str] = ()) -> AttachError:
        """An AttachError that names the program and its section."""
        return AttachError(
            f"cannot attach '{self.info.name}' (SEC(\"{self.section}\")): {message}",
            program=self.info.name,
            section=self.section,
            errno=code,
            hints=hints,
            log=load_errors.without_advice("".join(self.said)),
        )

    def unknown(self, kind: str, name: str, known: Sequence[str], where: str = "") -> AttachError:
        """An AttachError for a name that does not exist, with the nearest that do."""
        close = nearest(name, known)
        if not close and 0 < len(known) <= 12:
            close = list(known)
        return self.fail(
            f"there is no {kind} '{name}'{where}",
            errno.ENOENT,
            [f"the nearest that exists: {', '.join(close)}"] if close else [],
        )

    def lacks(self, feature: str, code: int) -> BpfnbError:
        """A KernelFeatureMissing, or NotPermitted where it is this process that may not."""
        if code in (errno.EPERM, errno.EACCES) and (missing := self._not_allowed()):
            return missing
        return load_errors.feature_missing(self.section, self.info.name, code, "".join(self.said), feature)

    def refused(self, error: OSError, doing: str = "", hints: Sequence[str] = ()) -> BpfnbError:
        """The kernel's refusal, in words."""
        code = error.errno or 0
        if code in (errno.EPERM, errno.EACCES) and (missing := self._not_allowed()):
            return missing
        return self.fail(f"{doing + ': ' if doing else ''}{os.strerror(code)}", code, hints)

    def _not_allowed(self) -> NotPermitted | None:
        missing = missing_capabilities(network=True, tracing=True)
        if not missing:
            return None
        return NotPermitted(
            f"this process may not attach '{self.info.name}': it lacks {' and '.join(missing)}",
            missing=missing,
            hints=["run as root"],
        )

    def needs(self, option: str, example: str) -> AttachError:
        return self.fail(f"it needs the option '{option}'", errno.EINVAL, [f"for example {example}"])

    def map_fd(self, option: object) -> int:
        """A descriptor from a ``map=`` option: a map of this object by name, or a descriptor."""
        if isinstance(option, int):
            return option
        if option in self.maps:
            return self.maps[str(option)].fd
        raise self.unknown("map", str(option), list(self.maps), " in this object")

    def cgroup_fd(self) -> int:
        """A descriptor of the ``cgroup=`` directory; by default the root. Relative paths start at the root."""
        root = cgroup_root()
        path = root / str(self.get("cgroup", root))
        if not path.is_dir():
            siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
            raise self.unknown("cgroup", path.name, siblings, f" in {path.parent}")
        return open_fd(path, os.O_DIRECTORY)

    def perf_event_open(self, attr: bytes, pid: int, cpu: int) -> int:
        return syscall.perf_event_open(attr, pid, cpu)

    def find_binary(self, name: str, pid: int | None = None) -> Path | None:
        """The file of a program or library, as processes of the traced kernel name it."""
        return find_binary(name, pid)

    def readable(self, path: Path) -> Path:
        """Where this process can read that file."""
        return path
