"""Labs, their tasks, and the verdict on an answer."""

from __future__ import annotations

import html
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bpfnb.errors import UnknownName
from bpfnb.lab import facts as known
from bpfnb.lab import results
from bpfnb.lab.answers import Unfit
from bpfnb.lab.facts import Facts
from bpfnb.lab.ownership import borrowed

if TYPE_CHECKING:
    from bpfnb.lab.workloads import Making

__all__ = ["Lab", "Task", "Verdict", "check", "find", "judge", "labs"]

Judge = Callable[[Any, Facts], str | None]
_NAME = re.compile(r"lab\d\d")
_BORROWED = (
    "The answer is right, but in replay it is what the recorded program saw: the text of `{}` is another, and that was "
    "not loaded. It counts where it can be: run the notebook on a machine that loads it."
)


@dataclass(frozen=True)
class Verdict:
    """What became of an answer. ``message`` is a hint, or where it is right, why that matters.

    ``recorded``: it is right, and not passed, since it is of the program that was recorded in place of the cell's own.
    """

    task: str
    title: str
    passed: bool
    message: str
    recorded: bool = False

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        word = "right" if self.passed else "recorded, not yours" if self.recorded else "not yet"
        return f"{self.task}: {word}. {self.message}"

    def _repr_html_(self) -> str:
        color, word = ("#1a7f37", "Right.") if self.passed else ("#9a6700", "Not yet.")
        word = "Recorded, not yours." if self.recorded else word
        return (
            f'<div style="border-left: 4px solid {color}; padding: 4px 12px; margin: 4px 0; max-width: 60em">'
            f'<div style="opacity: 0.7; font-size: 85%">{html.escape(self.task)}: {html.escape(self.title)}</div>'
            f'<b style="color: {color}">{word}</b> {_marked(self.message)}</div>'
        )


@dataclass(frozen=True)
class Task:
    """One task: its name in the lab, what it asks, why it matters, and what judges an answer."""

    name: str
    title: str
    why: str
    judge: Judge


@dataclass
class Lab:
    """A lab: its tasks and workloads, in the order in which they were registered.

    ``runs_on_vm``: whether it can be done in a guest, too, with its workload there. ``hooks``: sections of programs
    that it needs and that not every kernel takes; a lab that has such runs in a guest only, where a program that
    denies things does no harm.
    """

    name: str
    title: str
    minutes: int = 45
    runs_on_vm: bool = False
    hooks: tuple[str, ...] = ()
    tasks: dict[str, Task] = field(default_factory=dict)
    workloads: dict[str, Callable[[Making], None]] = field(default_factory=dict)

    @property
    def in_guest(self) -> str:
        """Where the lab runs, in a word for tables: also in a guest, only there, or not there."""
        return "only" if self.hooks else "also" if self.runs_on_vm else ""

    def task(self, title: str, *, why: str) -> Callable[[Judge], Judge]:
        """Registers a function (its name is the task's): of an answer and the facts a hint, or None when right."""

        def register(function: Judge) -> Judge:
            name = getattr(function, "__name__", "task")
            self.tasks[name] = Task(name, title, why, function)
            return function

        return register

    def workload(self, part: str = "") -> Callable[[Callable[[Making], None]], Callable[[Making], None]]:
        """Registers what starts the processes of ``workload("LAB")``, or of its part ``workload("LAB.PART")``."""

        def register(function: Callable[[Making], None]) -> Callable[[Making], None]:
            self.workloads[part] = function
            return function

        return register


def labs() -> list[Lab]:
    """All labs, by their numbers."""
    return [find(name) for name in _names()]


def find(name: str) -> Lab:
    """The lab of that name (``lab01``). :raises UnknownName: there is none."""
    if name not in _names():
        raise UnknownName.among(_names(), name, f"there is no lab '{name}'")
    lab: Lab = import_module(f"bpfnb.lab.{name}").LAB
    return lab


def _names() -> list[str]:
    import bpfnb.lab

    found = (module.name for module in pkgutil.iter_modules(bpfnb.lab.__path__))
    return sorted(name for name in found if _NAME.fullmatch(name))


def check(name: str, answer: Any) -> Verdict:
    """Judge an answer to the task *name* (``lab02.task3``) by its value, and write the verdict to the results' file.

    :raises UnknownName: there is no such task. Answers of any kind are judged, none raises.
    """
    verdict = judge(name, answer)
    if verdict and (names := borrowed()):
        verdict = replace(verdict, passed=False, recorded=True, message=_BORROWED.format(", ".join(names)))
    results.add(verdict)
    return verdict


def judge(name: str, answer: Any, facts: Mapping[str, Any] | None = None) -> Verdict:
    """As :func:`check`, without a result; with *facts* instead of those of the lab's workloads."""
    lab, task = _task(name)
    given = known.of(lab.name) if facts is None else Facts(lab.name, facts)
    try:
        hint = task.judge(answer, given)
    except Unfit as unfit:
        hint = str(unfit)
    except Exception as error:
        hint = (
            f"The answer could not be looked at ({type(error).__name__}: {error}). Is it what the task asks for? "
            f"This is a {type(answer).__name__}."
        )
    return Verdict(name, task.title, hint is None, task.why if hint is None else hint)


def _task(name: str) -> tuple[Lab, Task]:
    lab_name, _, task_name = name.partition(".")
    lab = find(lab_name)
    if task_name not in lab.tasks:
        raise UnknownName.among(
            [f"{lab_name}.{known}" for known in lab.tasks], name, f"there is no task '{name}'"
        )
    return lab, lab.tasks[task_name]


def _marked(message: str) -> str:
    """Text as HTML, with what stands in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(message))
