"""The filters that all tools share, from what people write to the global variables of ``bpfnb/filter.h``.

They run in the kernel, before anything is sent. Several values of one filter are alternatives; a task passes when it
passes every filter that is given.
"""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfnb.errors import BadValue, UnknownName
from bpfnb.kernel.system import cgroup_root, meant, path
from bpfnb.processes import cgroups, container_of, users

__all__ = ["FILTERS", "Filter", "Passing", "globals_of", "resolved"]

PIDS, NAMES = 64, 16  # as in bpfnb/filter.h

Passing = Mapping[str, Sequence[tuple[Any, int | str]]]
"""By filter, each value as it was given, and what the kernel compares: names may mean something else later."""


@dataclass(frozen=True)
class Filter:
    """One filter: what it is called, what it takes, the variable that it sets, and how a value gets there."""

    name: str
    help: str
    metavar: str
    variable: str
    read: Callable[[Any], int | str]
    most: int = NAMES


def _whole(value: Any, what: str, least: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = least - 1
    if number < least or isinstance(value, bool):
        raise BadValue(f"{what} is a whole number from {least} on, not {value!r}")
    return number


def _pid(value: Any) -> int:
    return _whole(value, "a pid", 1)


def _comm(value: Any) -> str:
    text = str(value)
    if not 1 <= len(text.encode()) <= 15:
        raise BadValue(
            f"a command's name has 1 to 15 bytes in the kernel, not {len(text.encode())}: {text!r}",
            hints=[f"the kernel knows it as {text.encode()[:15].decode(errors='ignore')!r}"] if text else (),
        )
    return text


def _uid(value: Any) -> int:
    """A number or a user's name."""
    if isinstance(value, str) and not value.isdigit():
        if meant() is None:
            with contextlib.suppress(KeyError, ValueError):  # a directory's users are asked for one by one
                return pwd.getpwnam(value).pw_uid
        known = users()
        if value not in known:
            raise UnknownName.among(known, value, f"there is no user '{value}' here")
        return known[value]
    return _whole(value, "a user", 0)


def _cgroup(value: Any) -> int:
    """An id, or a path: of the file system, or as /proc/PID/cgroup has it."""
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        return _whole(value, "a cgroup's id", 1)
    root = cgroup_root()
    for place in (path(str(value)), root / str(value).lstrip("/")):
        if place.is_dir() and place.is_relative_to(root):
            return place.stat().st_ino
    known = [found.path for found in cgroups().values()]
    raise UnknownName.among(known[:20], str(value), f"there is no cgroup '{value}' below {root}")


def _container(value: Any) -> int:
    """A container's id or the start of it."""
    wanted = str(value)
    by_id: dict[str, list[Any]] = {}
    for found in cgroups().values():
        container = container_of(found.path)
        if container:
            by_id.setdefault(container, []).append(found)
    fitting = [container for container in by_id if wanted and container.startswith(wanted)]
    if len(fitting) == 1:
        top: int = min(by_id[fitting[0]], key=lambda found: len(found.path)).id  # the others are below it
        return top
    if fitting:
        raise BadValue(
            f"{len(fitting)} containers' ids begin with '{wanted}'", hints=[", ".join(fitting[:4])]
        )
    raise UnknownName.among((c[:12] for c in by_id), wanted, f"there is no container '{wanted}' here")


def _netns(value: Any) -> int:
    """An inode, ``net:[4026531833]``, a path like /proc/42/ns/net or /run/netns/blue, or a name in /run/netns."""
    text = str(value).removeprefix("net:[").removesuffix("]")
    if text.isdigit():
        return _whole(text, "a network namespace's inode", 1)
    for place in (path(text), path(f"/run/netns/{text}")):
        if place.exists():
            return place.stat().st_ino
    known = [one.name for one in path("/run/netns").glob("*")]
    raise UnknownName.among(known, text, f"there is no network namespace '{text}'")


FILTERS: Mapping[str, Filter] = {
    one.name: one
    for one in (
        Filter("pid", "only these processes", "PID", "filter_pid", _pid, PIDS),
        Filter("comm", "only commands of exactly this name", "NAME", "filter_comm", _comm),
        Filter("uid", "only this user, by number or name", "USER", "filter_uid", _uid),
        Filter(
            "cgroup", "only this cgroup and all below it, by path or id", "CGROUP", "filter_cgroup", _cgroup
        ),
        Filter(
            "container",
            "only this container, by its id or the start of it",
            "ID",
            "filter_cgroup",
            _container,
        ),
        Filter("netns", "only this network namespace, by path, name or inode", "NS", "filter_netns", _netns),
    )
}
"""By name, in the order of the help."""


def resolved(given: Mapping[str, Any]) -> Passing:
    """What the filters *given* by name let pass, each one value or several; None is not given.

    Raises BadValue for a value that makes no sense or none at all, UnknownName for what is not there.
    """
    found = {}
    for name, value in given.items():
        if value is None:
            continue
        values = [value] if isinstance(value, str | Path) or not isinstance(value, Iterable) else list(value)
        if not values:
            raise BadValue(f"{name}= names nothing, so nothing could pass")
        found[name] = [(one, FILTERS[name].read(one)) for one in values]
    return found


def globals_of(passing: Passing) -> dict[str, list[Any]]:
    """Values of the filters' global variables. Raises BadValue for more than there is room for."""
    found: dict[str, list[Any]] = {}
    for name, values in passing.items():
        wanted = FILTERS[name]
        slots = found.setdefault(wanted.variable, [])
        slots[:] = dict.fromkeys([*slots, *(known for _, known in values)])
        if len(slots) > wanted.most:
            raise BadValue(f"at most {wanted.most} values pass the filter {name}, not {len(slots)}")
    if "filter_uid" in found:
        found["filter_uid"] += [-1] * (NAMES - len(found["filter_uid"]))  # the list's end: 0 is a user
    return found
