"""What mkdocstrings shows of a docstring: its reStructuredText as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["AsMarkdown", "markdown_of"]


def markdown_of(text: str) -> str:
    """Literal blocks need nothing: they are indented after an empty line, as Markdown's are."""
    text = re.sub(r":[a-z]+:`~?([^`<]+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    text = re.sub(r"(\n?):raises ([\w, .]+):", _raises, text)
    return re.sub(r"(?m)^(.*\S)::$", r"\1:", text)


def _raises(match: re.Match[str]) -> str:
    errors = ", ".join(f"`{name.strip()}`" for name in match[2].split(","))
    return f"{match[1] * 2}**Raises** {errors}:"


class AsMarkdown(griffe.Extension):
    """Docstrings here are written for readers of the source."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown_of(obj.docstring.value)
