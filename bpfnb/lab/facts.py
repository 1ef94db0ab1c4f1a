"""What is known of a lab's workloads: by the student, by the checks, and in replay from the recording's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bpfnb.errors import BpfnbError
from bpfnb.lab.answers import Unfit
from bpfnb.recording import session

__all__ = ["FILE", "Facts", "forget", "of", "put", "recorded_in", "replayed_from", "told"]

FILE = "facts.json"

_known: dict[str, dict[str, dict[str, Any]]] = {}
"""By lab and then by workload (``""`` is the lab's own): ``told`` and ``kept`` facts; ``measured`` beside them."""


class Facts(Mapping[str, Any]):
    """The facts of one lab by name; those of its workload ``files`` as ``files.NAME``.

    A fact that is not there (its workload did not run yet) raises ``Unfit``, with the hint to run it.
    """

    def __init__(self, lab: str, values: Mapping[str, Any] | None = None) -> None:
        self.lab = lab
        self._given = values

    def _values(self) -> Mapping[str, Any]:
        if self._given is not None:
            return self._given
        values: dict[str, Any] = {}
        for part, facts in _of(self.lab).items():
            if part != "measured":
                head = f"{part}." if part else ""
                for group in facts.values():
                    values |= {f"{head}{name}": value for name, value in group.items()}
        return values

    def __getitem__(self, name: str) -> Any:
        values = self._values()
        if name not in values:
            part = name.rpartition(".")[0]
            full = f"{self.lab}.{part}" if part else self.lab
            raise Unfit(
                f'The workload has not run yet: first the cell with bpfnb.lab.workload("{full}") and its run().'
            )
        return values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def measured(self, name: str, measure: Callable[[], Any]) -> Any:
        """What *measure* finds out now, as JSON has it; in replay what it found when the lab was recorded."""
        if self._given is not None:
            return self._given[name] if name in self._given else _plain(measure())
        if replayed_from() is not None:
            try:
                return _of(self.lab)["measured"][name]
            except KeyError:
                raise Unfit(f"The recording does not have what this check compares with ({name}).") from None
        value = _plain(measure())
        _known.setdefault(self.lab, {}).setdefault("measured", {})[name] = value
        _write()
        return value


def of(lab: str) -> Facts:
    return Facts(lab)


def put(lab: str, part: str, *, told: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Replace what is known of one workload."""
    _known.setdefault(lab, {})[part] = {"told": _plain(told), "kept": _plain(kept)}
    _write()


def forget(lab: str, part: str) -> None:
    _known.get(lab, {}).pop(part, None)


def told(lab: str, part: str) -> dict[str, Any]:
    """What the student may know of a workload. :raises BpfnbError: in replay, where the recording has nothing of it."""
    try:
        return dict(_of(lab)[part]["told"])
    except KeyError:
        full = f"{lab}.{part}" if part else lab
        raise BpfnbError(
            f"the recordings in {replayed_from()} have no facts of the workload {full}",
            hints=["are they of another lab? `python notebooks/labs/make.py record` makes them anew"],
        ) from None


def replayed_from() -> Path | None:
    """The folder from which this session replays."""
    return session.folder()


def recorded_in() -> Path | None:
    """The folder to which this session's objects are recorded."""
    folder = os.environ.get("BPFNB_RECORD")
    return Path(folder) if folder else None


def _of(lab: str) -> dict[str, dict[str, Any]]:
    folder = replayed_from()
    if folder is None:
        return _known.get(lab, {})
    try:
        facts = json.loads((folder / FILE).read_text())["lab"]
        return dict(facts.get(lab, {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write() -> None:
    folder = recorded_in()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps({"lab": _known}, indent=1, sort_keys=True) + "\n")


def _plain(value: Any) -> Any:
    """As JSON has it, so that live and in replay a check sees the same."""
    return json.loads(json.dumps(value, default=_of_numpy))


def _of_numpy(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
