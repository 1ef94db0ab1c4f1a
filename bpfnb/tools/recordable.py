"""What a recording takes of a tool, and what the tool that is made of the recording does otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from bpfnb.recording.looks import Looks

if TYPE_CHECKING:
    from bpfnb.recording.tool_past import Past

__all__ = ["Recordable"]


class Recordable:
    """A tool as recordings know it (:mod:`bpfnb.recording.tools`, :mod:`bpfnb.recording.tool_replay`)."""

    def state(self) -> dict[str, Any]:
        """What a recording notes beside the frames, for :meth:`restore`: what JSON can hold."""
        return {}

    def beside(self) -> dict[str, pd.DataFrame]:
        """Frames other than the tool's own that its pictures and properties are made of, by name: recorded too."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Of a recording: take up what :meth:`state` gave; what :meth:`beside` gave is in ``recorded``.

        Anything may stand in *state*: what makes no sense raises TypeError, ValueError or KeyError.
        """

    recorded: Mapping[str, Past] = MappingProxyType({})
    """Of a recording, what :meth:`beside` gave, by name."""
    origin = ""
    """Where its rows come from, where that is not this machine's kernel: ``recorded 2026-03-01 ... on kernel 6.18``."""

    def past(self) -> Looks:
        """Of a recording whose frame changes: each look at it, when it was (ns since 1970) and what it was then."""
        return Looks()

    @property
    def settled(self) -> bool:
        """Whether nothing more will come though nobody ended it: all of a recording is here."""
        return False
