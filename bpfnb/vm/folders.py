"""Folders of this machine that a guest is given to read, over 9p (Documentation/filesystems/9p.rst).

qemu serves each as the user that the notebook is, read-only, and follows no symbolic link: links are the guest's to
follow, so that they lead to places of the guest.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bpfnb.errors import BadValue
from bpfnb.vm.remote import Buffer, Remote

__all__ = ["Folder", "Given", "given", "mount", "shares", "split"]

Given = Iterable[str | Path] | Mapping[str | Path, str]
"""Folders, each for the same place in the guest, or {folder: place in the guest}."""

_MOST = 24
_STEP = 4
_KERNELS = ("proc", "sys", "dev")
_READ_ONLY_NOSUID_NODEV = 7
_OPTIONS = "trans=virtio,version=9p2000.L,msize=512000"  # as much in a message as qemu takes
# Folders that hardly change while a guest lives: it may keep what it has read, so that Python starts 4 times as fast.
_STEADY = ("/usr", "/lib", "/lib64", "/opt", sys.prefix, sys.base_prefix)


@dataclass(frozen=True, slots=True)
class Folder:
    """``path`` here, without symbolic links, is seen at ``place`` in the guest."""

    path: Path
    place: str


def given(folders: Given) -> tuple[Folder, ...]:
    """What is to be shared, those before that hold others. Raises BadValue for what a guest must not see."""
    if isinstance(folders, (str, Path)):
        raise BadValue("folders of a virtual machine are a list", hints=[f"folders=[{str(folders)!r}]"])
    wanted = folders if isinstance(folders, Mapping) else dict.fromkeys(folders, "")
    found = {_folder(path, place) for path, place in wanted.items()}
    ordered = sorted(found, key=lambda folder: (len(PurePosixPath(folder.place).parts), folder.place))
    for first, second in itertools.pairwise(ordered):
        if first.place == second.place:
            raise BadValue(f"{first.path} and {second.path} cannot both be at {first.place} of the guest")
    kept = tuple(folder for folder in ordered if not any(_holds(other, folder) for other in ordered))
    if len(kept) > _MOST:
        raise BadValue(
            f"a guest takes {_MOST} folders, these are {len(kept)}", hints=["give it their parent"]
        )
    return kept


def split(word: str) -> tuple[str, str]:
    """``PATH[:PLACE]`` of a command line; a place begins with a slash."""
    path, colon, place = word.rpartition(":/")
    return (path, f"/{place}") if colon else (word, "")


def _folder(path: str | Path, place: str) -> Folder:
    written = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - with its symbolic links
    real = written.resolve()
    if not real.is_dir():
        kind = "is no folder" if real.exists() else "does not exist"
        raise BadValue(
            f"{path} {kind}: a virtual machine is given folders", hints=["vm.put(path) copies a file"]
        )
    if not os.access(real, os.R_OK | os.X_OK):
        raise BadValue(f"you may not read {path}, so a virtual machine of yours may not either")
    if Path.home().resolve().is_relative_to(real):
        raise BadValue(
            f"{path} holds your home folder, which a virtual machine is not given",
            hints=["name the folders under it that the guest is to read"],
        )
    if len(real.parts) > 1 and real.parts[1] in _KERNELS:
        raise BadValue(f"{path} is of this machine's kernel; the guest has its own")
    target = PurePosixPath(place or written)
    if not target.is_absolute() or ".." in target.parts:
        raise BadValue(f"'{place}' is no place in the guest: it is a whole path, such as /data")
    if len(target.parts) < 2 or target.parts[1] in (*_KERNELS, "guest"):
        raise BadValue(f"nothing can be put over {target} of the guest", hints=["/data is free"])
    return Folder(real, str(target))


def _holds(outer: Folder, inner: Folder) -> bool:
    """Whether *inner* is seen where it is wanted because *outer* is."""
    place = PurePosixPath(inner.place)
    return (
        outer is not inner
        and place.is_relative_to(outer.place)
        and outer.path / place.relative_to(outer.place) == inner.path
    )


def shares(folders: Sequence[Folder]) -> tuple[Path, ...]:
    """The folder behind each of the guest's 9p devices.

    They are so many that few snapshots serve all numbers of folders; those too many show the last folder once more.
    """
    paths = [folder.path for folder in folders]
    return (*paths, *paths[-1:] * (-len(paths) % _STEP))


def mount(remote: Remote, folders: Sequence[Folder]) -> None:
    """Mount them in the guest. Raises BadValue where one has no place there, OSError."""
    for number, folder in enumerate(folders):
        place = Buffer(os.fsencode(folder.place) + b"\0")
        for parent in reversed(PurePosixPath(folder.place).parents[:-1]):
            remote.call("mkdir", Buffer(os.fsencode(parent) + b"\0"), 0o755)
        made = remote.call("mkdir", place, 0o755)
        if made.value and made.errno == errno.EEXIST:
            if (
                remote.call("readlink", place, Buffer(size=16), 16).value > 0
            ):  # such as /usr, of the guest's own
                remote.call("unlink", place)
                remote.call("mkdir", place, 0o755)
        elif made.value:
            raise BadValue(
                f"{folder.place} cannot be made in the guest: {os.strerror(made.errno)}",
                hints=["a place in a folder that was given must exist there"],
            )
        steady = any(folder.path.is_relative_to(Path(one).resolve()) for one in _STEADY)
        options = Buffer(f"{_OPTIONS},cache={'loose' if steady else 'none'}\0".encode())
        tag, kind = Buffer(f"given{number}\0".encode()), Buffer(b"9p\0")
        try:
            remote.libc("mount", tag, place, kind, _READ_ONLY_NOSUID_NODEV, options)
        except OSError as error:
            hints = ["its kernel needs CONFIG_NET_9P_VIRTIO"] if error.errno == errno.ENODEV else []
            raise BadValue(f"the guest cannot mount {folder.path}: {error.strerror}", hints=hints) from None
