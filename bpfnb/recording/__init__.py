"""Recordings: what objects and tools saw, in one file that outlives the machine. The format: docs/recordings.md."""

from __future__ import annotations

from typing import Any

__all__ = ["Recorder", "Recording", "record"]

_HOMES = {"record": "chosen", "Recorder": "recorder", "Recording": "reader"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'bpfnb.recording' has no attribute '{name}'")
    return getattr(import_module(f"bpfnb.recording.{_HOMES[name]}"), name)
