"""A small table that reads well in a terminal and in a notebook: the answer of most `%bpf` verbs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import pandas as pd

from bpfnb.views._style import esc, printable, styled

__all__ = ["Preformatted", "Table"]


@dataclass(frozen=True)
class Table:
    """Rows under named columns. The first column names the row; numbers align right.

    ``empty`` is the sentence shown instead of a table without rows. ``footer`` stands below.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]] = ()
    title: str = ""
    empty: str = "nothing"
    footer: str = ""
    code: frozenset[str] = field(default_factory=frozenset)  # columns to set in a fixed-width face

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return iter(self.rows)

    @property
    def df(self) -> pd.DataFrame:
        """The same rows as a DataFrame."""
        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns))

    def text(self) -> str:
        if not self.rows:
            return self.empty
        cells = [[_text(value) for value in row] for row in self.rows]
        widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(self.columns)]
        right = [all(_numeric(row[i]) for row in self.rows) for i in range(len(self.columns))]
        lines = [_aligned(self.columns, widths, right), *(_aligned(row, widths, right) for row in cells)]
        return "\n".join([self.title] * bool(self.title) + lines + [self.footer] * bool(self.footer))

    def html(self, *, caption: bool = True) -> str:
        """The ``<table>`` alone, without a style sheet."""
        if not self.rows:
            return f'<p class="b-dim">{esc(self.empty)}</p>'
        right = [all(_numeric(row[i]) for row in self.rows) for i in range(len(self.columns))]
        kind = [
            ' class="b-num"' if number else ' class="b-code"' if name in self.code else ""
            for number, name in zip(right, self.columns, strict=True)
        ]
        head = "".join(
            f'<th scope="col"{k}>{esc(name)}</th>' for k, name in zip(kind, self.columns, strict=True)
        )
        body = "".join(
            "<tr>"
            f'<th scope="row">{_html(row[0])}</th>'
            + "".join(f"<td{k}>{_html(value)}</td>" for k, value in zip(kind[1:], row[1:], strict=True))
            + "</tr>"
            for row in self.rows
        )
        title = f"<caption>{esc(self.title)}</caption>" if self.title and caption else ""
        footer = f'<p class="b-dim">{esc(self.footer)}</p>' if self.footer else ""
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{footer}"

    def _repr_html_(self) -> str:
        return styled(self.html(), self.title or "table")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text(), "text/html": self._repr_html_()}

    __str__ = text


@dataclass(frozen=True)
class Preformatted:
    """Text that is shown as it is, and scrolls where it is long."""

    content: str
    label: str = "text"

    def text(self) -> str:
        return self.content

    def _repr_html_(self) -> str:
        # Newlines must stay, so this escapes without `esc`, which writes one line.
        body = "\n".join(esc(line.expandtabs(8)) for line in self.content.splitlines())
        return styled(f"<pre>{body}</pre>", self.label)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.content, "text/html": self._repr_html_()}

    __str__ = text


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell whose HTML differs from its text. ``markup`` is trusted: its maker escapes what is in it."""

    text: str
    markup: str
    number: bool = False


def _numeric(value: Any) -> bool:
    if isinstance(value, Cell):
        return value.number
    return value == "-" or (isinstance(value, Number) and not isinstance(value, bool))


def _text(value: Any) -> str:
    if isinstance(value, Cell):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def _html(value: Any) -> str:
    return value.markup if isinstance(value, Cell) else esc(_text(value))


def _aligned(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    return "  ".join(
        text.rjust(width) if number else text.ljust(width)
        for text, width, number in zip(cells, widths, right, strict=True)
    ).rstrip()
