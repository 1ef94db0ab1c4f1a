"""What is compiled: a cell's text with all that its object depends on, and what can be read off it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["BCC_WORDS", "Source", "dialect"]


@dataclass(frozen=True)
class Source:
    """A cell or file of eBPF C.

    ``name`` stands in diagnostics and in the object's line information. ``directory`` is where ``#include "x.h"``
    looks first and what relative ``include_dirs`` start from. ``defines`` are ``NAME`` or ``NAME=VALUE`` (a leading
    ``-D`` is allowed), ``flags`` go to clang as they are.
    """

    text: str
    name: str = "cell"
    directory: Path | None = None
    defines: tuple[str, ...] = ()
    include_dirs: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The name as the compiler is given it: a plain file name, since line information cannot hold any other."""
        # clang would take a leading dash for an option; leading dots are for its own files beside the text.
        return re.sub(r"^[-.]+|[^\w.+=@-]", "_", Path(self.name).name) or "cell"

    @property
    def macros(self) -> tuple[str, ...]:
        """``defines`` without ``-D``."""
        return tuple(define.removeprefix("-D") for define in self.defines)

    @property
    def search(self) -> tuple[Path, ...]:
        """``include_dirs`` made absolute."""
        base = self.directory or Path.cwd()
        return tuple((base / folder.expanduser()).absolute() for folder in map(Path, self.include_dirs))

    @cached_property
    def code(self) -> str:
        """The text without comments, and every string shortened to its quotes except in directives and SEC()."""
        return _BLANK.sub(_keep_lines, self.text)

    @cached_property
    def directives(self) -> tuple[tuple[str, str], ...]:
        """The preprocessor's lines in order: ``("include", '"vmlinux.h"')``, ``("define", "N 4")`` ..."""
        joined = self.code.replace("\\\n", " ")
        return tuple((kind, rest.strip()) for kind, rest in _DIRECTIVE.findall(joined))

    @cached_property
    def includes(self) -> tuple[str, ...]:
        """The names between ``#include``'s quotes or angle brackets."""
        names = (rest.strip('<>"\t ') for kind, rest in self.directives if kind.startswith("include"))
        return tuple(names)

    @property
    def has_license(self) -> bool:
        """Whether the text sets its licence itself."""
        return bool(re.search(r"""["'](?:license|licence)["']""", self.code))

    @property
    def takes_prelude(self) -> bool:
        """Whether the prelude goes before it: it includes nothing, or only headers of bpfnb's, which stand on it."""
        return all(name.startswith("bpfnb/") for name in self.includes)

    @property
    def begins_with_vmlinux(self) -> bool:
        """Whether vmlinux.h is the first thing that the preprocessor reads.

        Only then are the headers in the state in which they were precompiled: a macro that is defined before, or
        another header that is included before, can change what vmlinux.h and libbpf's headers mean.
        """
        first = next(
            ((kind, rest) for kind, rest in self.directives if not kind.startswith("pragma")), ("", "")
        )
        return first[0] == "include" and first[1].strip('<>"\t ') == "vmlinux.h"


# Comments and literals, so that neither hides nor imitates a directive. A literal that runs over its line is broken
# C; it ends there, as clang has it.
_BLANK = re.compile(
    r"""//(?:\\\n|[^\n])* | /\*.*?(?:\*/|\Z) | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X
)
_DIRECTIVE = re.compile(r"^[ \t]*(?:\#|%:)[ \t]*([a-z_]+)\b([^\n]*)", re.M)


def _keep_lines(match: re.Match[str]) -> str:
    token = match[0]
    return token if token[0] in "\"'" else " " + "\n" * token.count("\n")


BCC_WORDS = re.compile(
    r"""\b(?:
        BPF_(?:HASH|ARRAY|HISTOGRAM|(?:F_)?TABLE\w*|PERF_OUTPUT|PERF_ARRAY|PERCPU_\w+|LRU_\w+|LPM_TRIE|STACK_TRACE\w*
              |PROG_ARRAY|RINGBUF_OUTPUT|QUEUE|STACK|QUEUESTACK\w*|HASH_OF_MAPS|ARRAY_OF_MAPS|CGROUP_ARRAY
              |CGROUP_STORAGE|DEVMAP|CPUMAP|XSKMAP|SOCKHASH|SOCKMAP|SK_STORAGE|INODE_STORAGE|TASK_STORAGE
              |BLOOM_FILTER|ITER)
        |TRACEPOINT_PROBE|RAW_TRACEPOINT_PROBE|(?:MODULE_)?K(?:RET)?FUNC_PROBE|KMOD_RET|LSM_PROBE
        )\s*\(
      | \.\s*(?:perf_submit|perf_submit_skb|ringbuf_output|ringbuf_reserve|ringbuf_submit|lookup_or_init
              |lookup_or_try_init|get_stackid|increment|atomic_increment)\s*\(
    """,
    re.X,
)
"""Macros and methods that only bcc's rewriter understands. Each is a word that libbpf C has no use for."""

_BCC_INCLUDE = re.compile(r"""^[ \t]*\#\s*include\s*[<"](?:uapi/linux/|bcc/)""", re.M)
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


def dialect(text: str) -> str:
    """``"bcc"`` for C that only bcc's rewriter understands (BPF_HASH(...), events.perf_submit(...)), else ``"libbpf"``.

    A text that itself defines such a macro, or that places anything with SEC(), is libbpf's: bcc has no SEC.
    """
    source = Source(text).code
    code = _STRING.sub('""', source)
    if re.search(r"\bSEC\s*\(", code):
        return "libbpf"
    return "bcc" if BCC_WORDS.search(code) or _BCC_INCLUDE.search(source) else "libbpf"
