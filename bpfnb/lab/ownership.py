"""Whose program an answer is of: in replay a ``%%bpf`` cell shows what the recorded program saw, whatever stands in it.

So an answer counts as the student's only where the text of the cells that it was made from is the recorded one, but
for comments and spacing. What an answer was made from is followed by names through the statements of the cells that
ran: a name that is given a value by a statement that mentions such an object stands for it, until it is given another.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bpfnb.lab.cells import statements
from bpfnb.recording import session

__all__ = ["borrowed", "traced"]


def borrowed() -> list[str]:
    """The objects, by name, that the running cell mentions and whose program is the recorded one, not the cell's.

    Where no IPython knows which cells ran, all such objects of the session.
    """
    bound = session.bound()
    if not any(differs for _, _, differs in bound):
        return []
    try:
        from IPython.core.getipython import get_ipython

        shell: Any = get_ipython()
    except ImportError:
        shell = None
    if shell is None:
        last = {name: differs for _, name, differs in bound}
        return sorted(name for name, differs in last.items() if differs)
    by_cell: dict[int, dict[str, bool]] = {}
    for number, name, differs in bound:
        by_cell.setdefault(number, {})[name] = differs
    return sorted(traced(shell.history_manager.input_hist_raw, by_cell, shell.transform_cell))


def traced(
    cells: Sequence[str], bound: Mapping[int, Mapping[str, bool]], transform: Callable[[str], str]
) -> set[str]:
    """What the last of *cells*, which ran in this order, is made from, of the objects that were *bound*.

    *bound*: by the number of the cell the names that it bound, and whether to what another program saw. *transform*
    is IPython's: from a cell's text to Python.
    """
    flow = _Flow(transform)
    for number, cell in enumerate(cells):
        objects = bound.get(number, {})
        flow.run(cell, {name for name, differs in objects.items() if differs})
        for name, differs in objects.items():
            flow.made[name] = {name} if differs else set()
            flow.objects.add(name)
    return flow.found


class _Flow:
    """What the names of a notebook are made from, while its statements are followed in their order.

    Of branches each may have run, of loops none or several rounds. A call of a method may keep what it is given in
    its object, so the name of that is made from it too; not modules, nor the objects of programs, which keep nothing.
    """

    def __init__(self, transform: Callable[[str], str]) -> None:
        self._transform = transform
        self.made: dict[str, set[str]] = {}
        self.objects: set[str] = set()
        self.found: set[str] = set()
        """What the statements of the last cell are made from."""
        self._loaded: set[str] = set()

    def run(self, cell: str, loaded: set[str]) -> None:
        """Follow a cell, whose calls may have *loaded* these objects of other programs."""
        self.found, self._loaded = set(), loaded
        try:
            body = statements(cell, self._transform)
        except SyntaxError:
            return
        self._block(body, set())

    def _block(self, body: Iterable[ast.stmt], because: set[str]) -> None:
        for statement in body:
            self._statement(statement, because)

    def _statement(self, statement: ast.stmt, because: set[str]) -> None:
        """*because*: what decides whether it runs."""
        if isinstance(statement, ast.If):
            because = because | self._plain([statement.test], because)
            self._branches([statement.body, statement.orelse], because)
        elif isinstance(statement, ast.While):
            because = because | self._plain([statement.test], because)
            self._branches([statement.orelse, [*statement.body * 2, *statement.orelse]], because)
        elif isinstance(statement, ast.For | ast.AsyncFor):
            because = because | self._plain([statement.iter, statement.target], because)
            self._branches([statement.orelse, [*statement.body * 2, *statement.orelse]], because)
        elif isinstance(statement, ast.With | ast.AsyncWith):
            because = because | self._plain(statement.items, because)
            self._block(statement.body, because)
        elif isinstance(statement, ast.Try | ast.TryStar):
            handled = [[*body, *one.body] for one in statement.handlers for body in ([], statement.body)]
            self._branches([*handled, [*statement.body, *statement.orelse]], because)
            self._block(statement.finalbody, because)
        elif isinstance(statement, ast.Match):
            guards = [case.guard for case in statement.cases if case.guard is not None]
            patterns = [case.pattern for case in statement.cases]
            because = because | self._plain([statement.subject, *patterns, *guards], because)
            self._branches([[], *(case.body for case in statement.cases)], because)
        elif isinstance(statement, ast.Assign) and not because and self._is_of_a_module(statement.value):
            for name in _stores(statement):
                self.made.pop(name, None)
        else:
            self._plain([statement], because)

    def _branches(self, branches: Sequence[Sequence[ast.stmt]], because: set[str]) -> None:
        before, after = self.made, dict[str, set[str]]()
        for branch in branches:
            self.made = dict(before)
            self._block(branch, because)
            for name, found in self.made.items():
                after[name] = after.get(name, set()) | found
        self.made = after

    def _plain(self, nodes: Sequence[ast.AST], because: set[str]) -> set[str]:
        """Follow what has no statements in it, and say what it is made from."""
        inside = [one for node in nodes for one in ast.walk(node)]
        found = because.union(*(self._of(node) for node in nodes))
        if any(isinstance(one, ast.Call) for one in inside):
            found |= self._loaded
        self.found |= found
        for stored in set[str]().union(*map(_stores, nodes)):
            self.made[stored] = found
            self.objects.discard(stored)
        turns = {name for one in inside if isinstance(one, ast.comprehension) for name in _stores(one.target)}
        for one in inside:
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
                given = [*one.args, *(keyword.value for keyword in one.keywords)]
                of_turns = any(_loads(argument) & turns for argument in given)
                name = _root(one.func)
                if given and name not in self.objects:
                    self._keep(name, found if of_turns else because.union(*map(self._of, given)))
            elif isinstance(one, ast.Attribute | ast.Subscript) and isinstance(one.ctx, ast.Store):
                self._keep(_root(one), found)
            elif isinstance(one, ast.Global):
                for one_name in one.names:
                    self.made[one_name] = self.made.get(one_name, set()) | found
        return found

    def _keep(self, name: str | None, found: set[str]) -> None:
        if name is not None and name in self.made:
            self.made[name] = self.made[name] | found

    def _of(self, node: ast.AST) -> set[str]:
        return set[str]().union(*(self.made[name] for name in _loads(node) & self.made.keys()))

    def _is_of_a_module(self, value: ast.expr) -> bool:
        """Whether it is a name, or by dots of one, that no statement gave a value: ``lab = bpfnb.lab``."""
        plain = all(isinstance(one, ast.Name | ast.Attribute | ast.Load) for one in ast.walk(value))
        return plain and _root(value) not in self.made


def _root(node: ast.AST | None) -> str | None:
    """The name with which an expression begins: ``d`` of ``d["k"].append``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _loads(node: ast.AST) -> set[str]:
    """The names that are read, also within functions; not those of functions and comprehensions themselves."""
    inner = set[str]().union(*(_loads(child) for child in ast.iter_child_nodes(node)))
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return inner | {node.target.id}
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        own = {name for one in node.generators for name in _stores(one.target)}
        return inner - own | _loads(node.generators[0].iter)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        body = node.body if isinstance(node.body, list) else []
        own = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        own |= {name for one in body for name in _stores(one)}
        own -= {name for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names}
        around = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
        around += [] if isinstance(node, ast.Lambda) else node.decorator_list
        return (inner - own).union(*(_loads(one) for one in around))
    return inner


def _stores(node: ast.AST) -> set[str]:
    """The names that are set where the node stands; not those within functions, classes and comprehensions."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Lambda):
        return set()
    if isinstance(node, ast.MatchAs | ast.MatchStar) and node.name is not None:
        return {node.name}
    if isinstance(node, ast.comprehension):
        return _stores(node.iter).union(*(_stores(one) for one in node.ifs))
    return set[str]().union(*(_stores(child) for child in ast.iter_child_nodes(node)))
