"""The panel of a loaded object, and the views that its annotations ask for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb.views.objectpanel.pictures import (
        annotated,
        display_frame,
        display_object,
        frame_view,
        kept,
        release,
    )
    from bpfnb.views.objectpanel.widget import ObjectPanel, panel

__all__ = [
    "ObjectPanel",
    "annotated",
    "display_frame",
    "display_object",
    "frame_view",
    "kept",
    "panel",
    "release",
]

_HOMES = {
    "ObjectPanel": "widget",
    "panel": "widget",
    "annotated": "pictures",
    "display_frame": "pictures",
    "display_object": "pictures",
    "frame_view": "pictures",
    "kept": "pictures",
    "release": "pictures",
}


def __getattr__(name: str) -> Any:
    """Import on first use: an object's text and static picture need no widgets."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bpfnb.views.objectpanel' has no attribute '{name}'")
    return getattr(import_module(f"bpfnb.views.objectpanel.{_HOMES[name]}"), name)
