"""A cell as the statements that run in the notebook's namespace: with those of ``%time`` and its like in their place.

IPython makes a call of each magic, with a text: of ``%time n = f()`` the call ``run_line_magic('time', 'n = f()')``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

__all__ = ["statements"]

_OPTIONS: Final = {
    "time": re.compile(r"(?:--no-raise-error\s*)?"),
    "prun": re.compile(r"(?:-[rq]\s*|-[lsTD]\s*\S+\s*)*"),
}
"""The magics that run what follows them, and before it their options."""

_KEPT: Final = re.compile(r"\s*(?:--no-\w+\s+)*([A-Za-z_]\w*)")
"""The name that ``%%capture`` gives to what its cell printed."""


def statements(cell: str, transform: Callable[[str], str]) -> list[ast.stmt]:
    """What runs, in its order. *transform* is IPython's: from a cell's text to Python.

    :raises SyntaxError: the cell is not one that runs.
    """
    return _InPlace(transform).of(cell)


class _InPlace(ast.NodeTransformer):
    def __init__(self, transform: Callable[[str], str]) -> None:
        self._transform = transform

    def of(self, text: str) -> list[ast.stmt]:
        body: list[ast.stmt] = self.visit(ast.parse(self._transform(text))).body
        return body

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.stmt]:
        return self._run_by(node.value) or self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        ran = self._run_by(node.value)
        if not ran:
            return self.generic_visit(node)
        gives = ran[-1].value if isinstance(ran[-1], ast.Expr) else ast.Constant(None)
        return [*ran, ast.Assign(node.targets, gives)]

    def _run_by(self, value: ast.expr) -> list[ast.stmt]:
        """What a magic runs; nothing where it is another or none, or is not given Python."""
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
            return []
        with suppress(SyntaxError):
            return self._given(value.func.attr, value.args)
        return []

    def _given(self, magic: str, given: Sequence[ast.expr]) -> list[ast.stmt]:
        words = [one.value if isinstance(one, ast.Constant) else None for one in given]
        match magic, words:
            case "run_line_magic", ["time" | "prun" as name, str(line)]:
                return self.of(_after_options(name, line))
            case "run_cell_magic", ["time", str(line), str(body)]:
                return [] if _after_options("time", line) else self.of(body)
            case "run_cell_magic", ["prun", str(line), str(body)]:
                return self.of(f"{_after_options('prun', line)}\n{body}")
            case "run_cell_magic", ["capture", str(line), str(body)]:
                return self._captured(line, self.of(body))
        return []

    def _captured(self, line: str, ran: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The name that keeps what was printed is made from all that is mentioned, with its values before and after."""
        name = _KEPT.match(line)
        if name is None:
            return list(ran)
        names = {one.id for statement in ran for one in ast.walk(statement) if isinstance(one, ast.Name)}
        mentioned = [ast.Name(one, ast.Load()) for one in sorted(names - {name[1]})]
        kept = ast.Name(name[1], ast.Store())
        before = ast.Assign([kept], ast.Tuple([*mentioned], ast.Load()))
        own = ast.Name(name[1], ast.Load())
        return [before, *ran, ast.Assign([kept], ast.Tuple([own, *mentioned], ast.Load()))]


def _after_options(magic: str, line: str) -> str:
    options = _OPTIONS[magic].match(line)
    return line[options.end() if options else 0 :]
