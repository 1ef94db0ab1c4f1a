"""One program at many functions: which they are, and attaching it to all of them, each known by its cookie."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bpfnb.errors import AttachError, BadValue
from bpfnb.kernel.features import features
from bpfnb.object import BpfObject
from bpfnb.program import Program
from bpfnb.tools.probed import one_pid
from bpfnb.tools.targets import Target, split, words
from bpfnb.tools.tool import Load, Option

__all__ = ["OPTIONS", "Places"]

OPTIONS = (
    Option(
        "function",
        str,
        "which functions: names or patterns",
        "BINARY:PATTERN",
        variable=False,
        positional=True,
    ),
    Option("binary", str, "the program or library, where FUNCTION does not name it", "FILE", variable=False),
)

_UNPROBEABLE = (524, errno.EINVAL, errno.EOPNOTSUPP)  # ENOTSUPP is the kernel's own
_MOST_MULTI = 1 << 16
_MOST = 1000  # links, where the kernel needs one for each function


class Places:
    """The functions that a tool's options ``function`` and ``binary`` mean, in the order of their cookies.

    :raises BadValue, UnknownName: no function, no such one, or more than can be probed.
    """

    def __init__(self, given: dict[str, Any], filters: dict[str, Any]) -> None:
        self.pid = one_pid(filters)
        binary, pattern = split(str(given.get("function", "")))
        self.pattern = pattern
        self.left_out: dict[str, str] = {}
        if not pattern:
            raise BadValue("which functions?", hints=["BINARY:PATTERN, such as libc.so.6:str*"])
        self.target = Target(str(given.get("binary", binary)), self.pid)
        self.functions = self.target.matching(words(pattern))
        self.multi = features().attach["uprobe.multi"].ok is True
        most = _MOST_MULTI if self.multi else _MOST
        if len(self.functions) > most:
            raise BadValue(
                f"{len(self.functions)} functions match, and at most {most:,} can be probed at a time"
            )

    def load(self) -> Load:
        """Macros: MULTI where one link serves all functions (Linux 6.6)."""
        return Load(defines=("MULTI",) if self.multi else ())

    def in_cell(self, text: str) -> str:
        """The program's *text* for a cell of its own: its sections name the functions, whose numbers are all 0 then.

        libbpf takes one pattern, or without MULTI one function; other choices are left for the cell's author.
        """
        kind, many = ("uprobe.multi", "uretprobe.multi"), len(words(self.pattern)) > 1
        if not self.multi:
            kind, many = ("uprobe", "uretprobe"), len(self.functions) > 1
        for section in () if many else kind:
            text = text.replace(f'SEC("{section}")', f'SEC("{section}/{self.target.path}:{self.pattern}")')
        return text

    def attach(self, made: BpfObject, *programs: str) -> None:
        """Attach the *programs* to every function, returns first, so that no call is half seen.

        What the kernel cannot probe, because of its first instruction, goes into :attr:`left_out`.
        """
        numbers = list(range(len(self.functions)))
        try:
            for name in programs:
                numbers = [number for part in self._attached(made.programs[name], numbers) for number in part]
        except BaseException:
            made.close()
            raise
        if not numbers:
            made.close()
            raise BadValue(f"none of these functions can be probed: {next(iter(self.left_out.values()))}")

    def _attached(self, program: Program, numbers: Sequence[int]) -> Iterator[Sequence[int]]:
        """Those of the functions that could be attached to; where some cannot, halves are tried."""
        where: dict[str, Any] = {"binary": str(self.target.path)} | ({"pid": self.pid} if self.pid else {})
        offsets = [self.functions[number].offset for number in numbers]
        try:
            if self.multi:
                program.attach(**where, offsets=offsets, cookies=numbers)
                yield numbers
            elif len(numbers) == 1:
                program.attach(**where, offset=offsets[0], cookie=numbers[0])
                yield numbers
        except AttachError as error:
            if error.errno not in _UNPROBEABLE:
                raise
            if len(numbers) == 1:
                self.left_out[self.functions[numbers[0]].name] = (
                    "the kernel cannot probe its first instruction"
                )
        else:
            if self.multi or len(numbers) == 1:
                return
        if len(numbers) > 1:
            middle = len(numbers) // 2
            yield from self._attached(program, numbers[:middle])
            yield from self._attached(program, numbers[middle:])

    @property
    def used(self) -> tuple[str, ...]:
        """The hook, as libbpf names it."""
        return (f"uprobe{'.multi' if self.multi else ''}/{self.target.path}:{self.pattern}",)

    def named(self, raw: pd.DataFrame) -> pd.DataFrame:
        """*raw*, whose column ``function`` has the functions' names instead of their numbers."""
        names = [function.name for function in self.functions]
        labels = list(dict.fromkeys(names))
        position = {name: at for at, name in enumerate(labels)}
        codes = [position[names[number]] for number in raw["function"].tolist()]
        return raw.assign(function=pd.Categorical.from_codes(codes, categories=pd.Index(labels)))
