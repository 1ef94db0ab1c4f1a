"""Outputs that can be exchanged later: what a cell shows, by its display id."""

from __future__ import annotations

import os
import uuid
from typing import Any

__all__ = ["Shown", "in_notebook", "unattended"]


def in_notebook() -> bool:
    """Whether outputs go to a page, where they can be exchanged, and not to a terminal."""
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")


def unattended() -> bool:
    """Whether the running cell's outputs are only kept and no page is there to draw a widget.

    So it is under nbclient, nbconvert and papermill. They say that nobody can answer ``input()``, which every front end
    with a person before it offers (``allow_stdin`` of the messaging protocol's execute_request); Voila, which draws
    widgets all the same, is known by its environment.
    """
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or any(name.startswith("VOILA_") for name in os.environ):
        return False
    request = kernel.get_parent("shell") or {}
    return (request.get("content") or {}).get("allow_stdin") is False


class Shown:
    """The places in the notebook that show one thing. True once there is any."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ids)

    def show(self, bundle: dict[str, Any]) -> None:
        """Show *bundle*, a dict by media type, as the output of the running cell; in a terminal, its text."""
        from IPython.display import display

        if not in_notebook():
            print(bundle["text/plain"])
            return
        self._ids.append(uuid.uuid4().hex)
        display(bundle, raw=True, display_id=self._ids[-1])

    def replace(self, bundle: dict[str, Any]) -> None:
        """Put *bundle* in the place of what was shown, wherever it was. Works from any thread."""
        from IPython.display import update_display

        for display_id in self._ids:
            update_display(bundle, raw=True, display_id=display_id)
