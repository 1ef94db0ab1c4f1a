"""The verifier's log as data: instructions with their source line and register states, and the reason at the end.

The log has, for each instruction in the order in which the verifier walked, ``12: (79) r1 = *(u64 *)(r0 +0) ; R0=...
R1=...``; between them ``; source text @ file:line`` (the place since Linux 6.9; before that only the text), ``from 5 to
9: R0=...`` where another path begins, and behind the last instruction the reason.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from bpfnb.errors import Location
from bpfnb.kernel.registers import parse_state

__all__ = ["CALL", "WINDOW", "WRITE", "Step", "VerifierLog"]

_BEGIN, _END = "-- BEGIN PROG LOAD LOG --", "-- END PROG LOAD LOG --"
_INSTRUCTION = re.compile(r"(\d+): (?:\([0-9a-f]{2}\) |(?=<invalid))(.*)")
_STATE = re.compile(r"(?:from (?P<jump>\d+) to )?\d+[^:]*: (?P<state>(?:frame\d+: ?)?(?:R\d+|fp-?\d+).*)")
_SOURCE = re.compile(r"; ?(?P<text>.*?)(?: @ (?P<file>.+):(?P<line>\d+))?$")
_INLINE_STATE = re.compile(r"\s*(?:;| (?=\d+: (?:frame\d+: )?R\d)) ?")
_MOVE = re.compile(r"[rw](\d+) = [rw](\d+)\s*$")
_NOISE = re.compile(
    r"processed \d+ insns(?! \(limit \d+\) .*1000001)|verification time|stack depth|insns processed|[; ]|$|"
    r"\d+: (?:frame\d+: ?)?(?:R\d|fp)|from \d+|(?:cur|old) state:|libbpf: |-- |mark_precise|(?:caller|callee):|"
    r"returning from callee|to caller at|propagating|last_idx|regs=|parent |func '\w+' arg\d+ has btf_id|"
    r"Validating |Func#\d+ |max_states_per_insn|arg#0 reference type\('UNKNOWN '\)"
)
CALL = re.compile(r"call (\S+?)(?:#-?\d+)?\s*$")
WRITE = re.compile(r"[rw](\d+) (?:=|[-+*/&|^<>s%]+=)(?!=)")
WINDOW = 4 << 20
"""Bytes of a long log's end that are looked at: a million instructions make a log of 100 MB."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of the log with the source line printed last before it.

    ``before`` is every register where the log gives that (a path or function begins here, reached by the jump of
    instruction ``jump``), else None; ``after`` is what the instruction changed.
    """

    number: int
    text: str
    frame: str
    before: Mapping[str, str] | None
    after: Mapping[str, str]
    source: Location | None
    jump: int | None


@dataclass
class VerifierLog:
    """The verifier's log of one program: ``body``, and ``outside`` what libbpf printed around it."""

    body: str
    outside: str

    @classmethod
    def of(cls, log: str) -> VerifierLog:
        """Of the last program in *log*: the verifier's text alone, or all that libbpf printed."""
        start = log.rfind(_BEGIN)
        if start < 0:
            return cls(log, log)
        end = log.find(_END, start)
        body = log[start + len(_BEGIN) : end if end >= 0 else len(log)]
        return cls(body, log[:start] + (log[end + len(_END) :] if end >= 0 else ""))

    @cached_property
    def lines(self) -> list[str]:
        return self.body[-WINDOW:].splitlines()

    @cached_property
    def steps(self) -> list[Step]:
        """Every instruction of the log's end, in the order in which the verifier walked."""
        out: list[Step] = []
        source: Location | None = None
        before: dict[str, str] | None = None
        jump: int | None = None
        frame = ""
        for line in self.lines:
            if line.startswith(";"):
                source = _place(line) or source
                continue
            found = _INSTRUCTION.match(line)
            if found is None:
                state = _STATE.match(line)
                if state is not None:
                    frame, before = _frame(state["state"]), parse_state(state["state"])
                    jump = int(state["jump"]) if state["jump"] else None
                continue
            text, after = _split(found[2])
            inline = _STATE.match(after)
            out.append(
                Step(int(found[1]), text, frame, before, {} if inline else parse_state(after), source, jump)
            )
            before, jump = None, None
            if inline is not None:  # the state at the jump's target stands on the jump's own line
                frame, before, jump = _frame(inline["state"]), parse_state(inline["state"]), int(found[1])
        return out

    @cached_property
    def reason(self) -> list[str]:
        """The lines behind the last instruction that say why."""
        at = next((i for i in range(len(self.lines) - 1, -1, -1) if _INSTRUCTION.match(self.lines[i])), -1)
        return [line.strip() for line in self.lines[at + 1 :] if not _NOISE.match(line)]

    def path(self, at: int) -> Iterator[Step]:
        """The steps that led to step *at*, newest first, in its own frame: step *at*, then those before it.

        The log goes through the paths depth first, so behind ``from 5 to 9:`` the path's past is step 5's.
        """
        steps, frame = self.steps, self.steps[at].frame
        while at >= 0:
            step = steps[at]
            if step.frame == frame:
                yield step
            at -= 1
            while step.jump is not None and at > 0 and steps[at].number != step.jump:
                at -= 1

    def state(self, at: int, register: int) -> str | None:
        """The state of *register* before step *at*, or None where nothing was written to it."""
        key = f"R{register}"
        for i, step in enumerate(self.path(at)):
            if i and key in step.after:
                return step.after[key]
            if i and 1 <= register <= 5 and CALL.match(step.text):
                return None
            if step.before is not None:
                return step.before.get(key)
        return None

    def origin(self, at: int, register: int) -> Step | None:
        """The step that produced the value of *register*, followed through moves."""
        for step in itertools.islice(self.path(at), 1, None):
            move, write = _MOVE.match(step.text), WRITE.match(step.text)
            if move and int(move[1]) == register:
                register = int(move[2])
            elif CALL.match(step.text) and register <= 5:
                return step if register == 0 else None
            elif write and int(write[1]) == register and " = " in step.text:
                return step
        return None


def _place(line: str) -> Location | None:
    found = _SOURCE.match(line)
    if found is None or not found["line"]:
        return None
    return Location(found["file"], int(found["line"]))


def _split(text: str) -> tuple[str, str]:
    """An instruction's text, and the state printed behind it."""
    found = _INLINE_STATE.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _frame(state: str) -> str:
    found = re.search(r"\bframe(\d+)\b", state)
    return found[1] if found else ""
