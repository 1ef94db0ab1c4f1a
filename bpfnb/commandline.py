"""Command lines of verbs: argparse that raises instead of ending the process, help, and the nearest name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bpfnb.errors import nearest

__all__ = ["HelpWanted", "Parser", "UsageProblem", "Verb", "Verbs", "help_text", "overview", "run"]


class UsageProblem(Exception):
    """The words of a command line do not fit."""


class HelpWanted(Exception):
    """``--help`` was given; the argument is the text."""


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise HelpWanted(parser.format_help())


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **keywords: Any) -> None:
        super().__init__(prog, **{**keywords, "width": 96, "max_help_position": 26})


class Parser(argparse.ArgumentParser):
    """argparse that never exits, never abbreviates, and names the nearest option."""

    def __init__(self, prog: str, **keywords: Any) -> None:
        super().__init__(
            prog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Formatter,
            **keywords,
        )
        self.color = False  # argparse of Python 3.14 would colour what is shown elsewhere
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this text")

    @property
    def options(self) -> list[str]:
        """Every option's spelling, longest ones first by name."""
        return sorted(self._option_string_actions)

    def parse(self, words: Sequence[str], into: argparse.Namespace | None = None) -> argparse.Namespace:
        """*into*: what was parsed before. :raises UsageProblem: for words that do not fit. :raises HelpWanted:"""
        known, extra = self.parse_known_args(list(words), into)
        if extra and not any(word.startswith("-") for word in extra):  # names on both sides of an option
            known, extra = self.parse_known_intermixed_args(list(words))
        if extra:
            wrong = next((word for word in extra if word.startswith("-")), extra[0]).split("=")[0]
            if not wrong.startswith("-"):
                raise UsageProblem(f"{self.prog}: '{wrong}' is one word too many")
            close = nearest(wrong, self.options, 1) or [o for o in self.options if o.startswith(wrong)][:1]
            tail = f"; did you mean {close[0]}?" if close else f"; {self.prog} --help lists the options"
            raise UsageProblem(f"{self.prog}: there is no option {wrong}{tail}")
        return known

    def error(self, message: str) -> NoReturn:
        raise UsageProblem(f"{self.prog}: {message}; {self.prog} --help says more")


@dataclass(frozen=True)
class Verb:
    """One verb: what it does in a line, its arguments, and the function that does it."""

    name: str
    summary: str
    call: Callable[[argparse.Namespace], Any]
    arguments: Sequence[tuple[Sequence[str], dict[str, Any]]] = field(default=())
    examples: Sequence[str] = ()

    def parser(self, prog: str) -> Parser:
        lines = [f"  {prog} {self.name} {example}".rstrip() for example in self.examples]
        epilog = "\n".join(["examples:", *lines]) if lines else None
        parser = Parser(f"{prog} {self.name}", description=self.summary, epilog=epilog)
        for names, keywords in self.arguments:
            parser.add_argument(*names, **keywords)
        return parser


Verbs = Mapping[str, Verb]


def run(words: Sequence[str], verbs: Verbs, prog: str, elsewhere: Verbs | None = None) -> Any:
    """What the verb returns; *elsewhere* are verbs of notebooks only. :raises UsageProblem, HelpWanted, BpfnbError:"""
    if not words or words[0] in ("-h", "--help"):
        raise HelpWanted(overview(verbs, prog))
    if words[0] == "help":
        raise HelpWanted(help_text(words[1:], verbs, prog))
    if words[0] not in verbs and words[0] in (elsewhere or ()):
        raise UsageProblem(
            f"{prog}: '{words[0]}' acts on the objects of a notebook; use %bpf {words[0]} there"
        )
    verb = _verb(words[0], verbs, prog)
    return verb.call(verb.parser(prog).parse(words[1:]))


def overview(verbs: Verbs, prog: str) -> str:
    """All verbs with a line each."""
    width = max(map(len, verbs)) + 2
    lines = [f"  {name:{width}}{verb.summary}" for name, verb in verbs.items()]
    return (
        "\n".join([f"usage: {prog} VERB ...", "", *lines, "", f"{prog} help VERB says more of one."]) + "\n"
    )


def help_text(words: Sequence[str], verbs: Verbs, prog: str) -> str:
    return _verb(words[0], verbs, prog).parser(prog).format_help() if words else overview(verbs, prog)


def _verb(name: str, verbs: Verbs, prog: str) -> Verb:
    if name in verbs:
        return verbs[name]
    close = nearest(name, list(verbs), 1)
    hint = f"did you mean {close[0]}?" if close else f"{prog} help lists them"
    raise UsageProblem(f"{prog}: there is no verb '{name}'; {hint}")
