"""Completion in ``%%bpf`` cells and on ``%bpf`` lines: this kernel's hooks, helpers, types, and the cell's names.

:func:`complete` is a plain function of text; :func:`matcher` gives its answer to IPython. What the kernel offers is
looked up when it is first needed and kept. Whatever cannot be looked up completes to nothing: a completer that
raises would print a stack into the notebook at every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from bpfnb import cli
from bpfnb.bcc.dialect import functions
from bpfnb.loading import ENGINES

from . import bcccell, ccell
from .options import ATTACH, cell_parser

__all__ = ["Candidate", "Completions", "complete", "matcher"]

LIMIT = 300
"""Candidates at most: more than a person reads, few enough to send at every key."""

_LINE = re.compile(r"^\s*(?:[\w,\s.]+=\s*)?%bpf\s(.*)$", re.DOTALL)
_CELL = re.compile(r"^\s*%%bpf\b")
_GUEST = re.compile(r"^\s*%%bpf\s+vm\s+(sh\b.*)$")
_SECTION = re.compile(r'\bSEC\("([^"\n]*)$')
_MEMBER = re.compile(r"([A-Za-z_]\w*(?:\[[^\]]*\])?(?:(?:->|\.)\w+(?:\[[^\]]*\])?)*)(?:->|\.)(\w*)$")
_CORE_READ = re.compile(r"\bBPF_(?:CORE|PROBE)_READ\(\s*(\w+)((?:\s*,\s*\w+)*)\s*,\s*(\w*)$")
_ANNOTATE = re.compile(r"\b(UNIT|FORMAT|VIEW)\(\s*(?:[\w=]+\s*,\s*)*(\w*)$")
_TYPE = re.compile(r"\b(?:struct|union|enum)\s+(\w*)$")
_ADDRESS = re.compile(r"&(\w*)$")
_WORD = re.compile(r"[A-Za-z_]\w*$")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')

# fmt: off
_C_WORDS = (
    "SEC(", "BPF_PROG(", "BPF_KPROBE(", "BPF_KRETPROBE(", "BPF_KSYSCALL(", "BPF_UPROBE(", "BPF_URETPROBE(",
    "BPF_USDT(", "BPF_SEQ_PRINTF(", "BPF_CORE_READ(", "BPF_CORE_READ_INTO(", "BPF_CORE_READ_STR_INTO(",
    "BPF_PROBE_READ(", "BPF_ANY", "BPF_NOEXIST", "BPF_EXIST", "__uint(", "__type(", "__array(", "__always_inline",
    "UNIT(", "FORMAT(", "DESCRIPTION(", "VIEW(", "HIDDEN", "ktime_ns_t", "u8", "u16", "u32", "u64", "s8", "s16",
    "s32", "s64", "__u32", "__u64", "struct", "union", "enum", "static", "const", "volatile", "return", "sizeof",
    "typedef", "unsigned", "void", "char", "int", "long", "bool", "true", "false", "NULL", "for", "while", "if",
    "else", "switch", "case", "break", "continue", "default",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Candidate:
    text: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Completions:
    """What may replace ``fragment``, the text before the cursor."""

    fragment: str
    candidates: tuple[Candidate, ...]


@context_matcher()  # type: ignore[untyped-decorator]
def matcher(context: CompletionContext) -> SimpleMatcherResult:
    """IPython's matcher: keeps Python's completions out of C wherever there is something better."""
    try:
        found = complete(context.full_text, context.cursor_line, context.cursor_position)
    except Exception:  # the kernel's tables may be unreadable; see the module's docstring
        found = None
    if found is None:
        return SimpleMatcherResult(completions=[], suppress=False)
    return SimpleMatcherResult(
        completions=[SimpleCompletion(c.text, type=c.kind) for c in found.candidates],
        matched_fragment=found.fragment,
        suppress=bool(found.candidates),
    )


def complete(text: str, line: int, column: int) -> Completions | None:
    """Completions at a place of a cell (0-based line and column); ``None`` where the text is not bpfnb's."""
    lines = text.split("\n")
    before = lines[line][:column]
    if _CELL.match(lines[0]):
        if line == 0:
            if match := _GUEST.match(before):
                return _vm(match[1])
            return _options(before, "\n".join(lines[1:]))
        if _GUEST.match(lines[0]):
            return None
        return _c(before, "\n".join([*lines[1:line], before]), "\n".join(lines[1:]))
    match = _LINE.match(before)
    return _verbs(match[1]) if match else None


# Lines


def _verbs(text: str) -> Completions:
    """A verb, then what that verb takes."""
    *done, fragment = re.split(r"\s+", text.lstrip())
    if not done or done == ["help"]:
        return _pick(fragment, [*cli.NOTEBOOK, "help"], "keyword")
    verb = cli.NOTEBOOK.get(done[0])
    if verb is None:
        return Completions(fragment, ())
    if verb.name == "tool":
        return _tool(fragment, done[1:])
    if verb.name == "vm":
        return _vm(" ".join([*done[1:], fragment]))
    if fragment.startswith("-"):
        return _pick(fragment, verb.parser("%bpf").options, "keyword")
    if verb.name == "bcc":
        return _pick(fragment, ("on", "off"), "keyword")
    if verb.name == "struct":
        return _pick(fragment, _type_names(fragment), "class")
    if verb.name == "find":
        return _pick(fragment, (f"{category}:*" for category in _categories()), "module")
    if verb.name == "vars" and len(done) == 2:
        return _pick(fragment, (f"{name}=" for name in _variables(done[1])), "instance")
    takes_objects = any(names[0] in ("name", "names") for names, _ in verb.arguments)
    return _pick(fragment, (n for n in _object_names() if n not in done) if takes_objects else (), "instance")


def _tool(fragment: str, done: Sequence[str]) -> Completions:
    """A tool's name, then its options."""
    from bpfnb import tools
    from bpfnb.tools.verb import parser_of

    if not done:
        return _pick(fragment, ["--find"] if fragment.startswith("-") else tools.names(), "function")
    if done[-1] == "--on":
        return _pick(fragment, _guests(), "instance")
    if done[0] not in tools.names() or not fragment.startswith("-"):
        return Completions(fragment, ())
    return _pick(fragment, [*parser_of(tools.find(done[0]), "%bpf").options, "--source"], "keyword")


def _vm(text: str) -> Completions:
    """What is done with guests, then its options, kernels and guests."""
    from bpfnb.vm import machines
    from bpfnb.vm.verb import NOTEBOOK

    *done, fragment = re.split(r"\s+", text)
    if not done:
        return _pick(fragment, NOTEBOOK, "keyword")
    verb = NOTEBOOK.get(done[0])
    if verb is None:
        return Completions(fragment, ())
    if fragment.startswith("-"):
        return _pick(fragment, verb.parser("%bpf vm").options, "keyword")
    if done[-1] == "--name" or verb.name == "stop":
        return _pick(fragment, machines if verb.name != "start" else (), "instance")
    if done[-1].startswith("--"):
        return Completions(fragment, ())
    return _pick(fragment, [*_kernels(), "newest"] if verb.name in ("start", "prepare") else (), "module")


def _options(before: str, body: str) -> Completions:
    """Options of a ``%%bpf`` line and the values of those that have few."""
    *done, fragment = re.split(r"\s+", before)
    option = done[-1] if done else ""
    values: dict[str, Callable[[], Iterable[str]]] = {
        "--interface": _interfaces,
        "--mode": lambda: ("native", "generic", "offload"),
        "--direction": lambda: ("ingress", "egress"),
        "--event": lambda: ("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations"),
        "--watchdog": lambda: ("off",),
        "--engine": lambda: ENGINES,
        "--on": _guests,
        "--attach": lambda: _places(fragment, body),
        "--max-entries": lambda: (f"{name}=" for name in ccell.maps(body)),
        "--pin": lambda: (f"{name}=" for name in ccell.maps(body)),
    }
    if option in values:
        return _pick(fragment, values[option](), "text")
    if option == "--option" and ":" in fragment:
        return _pick(fragment, (f"{fragment.split(':')[0]}:{name}=" for name, *_ in ATTACH), "text")
    if len(done) == 1 and not fragment.startswith("-"):
        return _pick(fragment, _object_names(), "instance")
    return (
        _pick(fragment, cell_parser().options, "keyword")
        if fragment.startswith("-")
        else Completions(fragment, ())
    )


# C


def _c(before: str, above: str, body: str) -> Completions:
    """*before* is the line up to the cursor, *above* all C up to it, *body* the whole cell."""
    if match := _SECTION.search(before):
        return _pick(match[1], _sections(match[1]), "module")
    code = _STRING.sub('""', before)
    if code.count('"') % 2 or "//" in code:
        return Completions("", ())
    of_bcc = bcccell.probes(code, _tracepoints) or bcccell.fields(code, above) or bcccell.methods(code, body)
    if of_bcc:
        return _pick(*of_bcc, "function")
    if match := _ANNOTATE.search(code):
        return _pick(match[2], _annotation_words(match[1]), "keyword")
    if match := _CORE_READ.search(code):
        path = [match[1], *re.findall(r"\w+", match[2])]
        return _pick(match[3], _members(path, above, body), "property")
    if match := _MEMBER.search(code):
        path = re.split(r"->|\.", re.sub(r"\[[^\]]*\]", "", match[1]))
        return _pick(match[2], _members(path, above, body), "property")
    if match := _TYPE.search(code):
        return _pick(match[1], [*ccell.structs(body), *_type_names(match[1])], "class")
    if match := _ADDRESS.search(code):
        return _pick(match[1], [*ccell.maps(body), *ccell.declared(above)], "instance")
    match = _WORD.search(code)
    if match is None:
        return Completions("", ())
    fragment = match[0]
    known: list[str] = []
    if fragment.startswith("bpf_"):
        known = list(_helpers())
    elif fragment.startswith("BPF_"):
        known = list(_constants())
    if "SEC(" not in body:
        known += bcccell.MACROS
    own = (word for word in ccell.words(body) if word != fragment)
    return _pick(fragment, [*known, *_C_WORDS, *own], "function" if known else "text")


def _members(path: Sequence[str], above: str, body: str) -> list[str]:
    """The members at the end of ``a->b.c``, through the cell's structs first and the kernel's after them."""
    own = ccell.structs(body)
    struct = ccell.declared(above).get(path[0], "")
    for name in path[1:]:
        if struct in own:
            struct = next((field.struct for field in own[struct] if field.name == name), "")
        else:
            struct = _kernel_members(struct).get(name, "")
    return [field.name for field in own[struct]] if struct in own else list(_kernel_members(struct))


def _sections(fragment: str) -> Iterable[str]:
    """Prefixes first; after ``tp/`` the categories, after those their tracepoints; kernel functions by their start."""
    from bpfnb.kernel import hooks

    head, slash, rest = fragment.partition("/")
    head = head.removeprefix("?")
    if not slash:
        return hooks.SECTIONS
    if head in ("tp", "tracepoint"):
        category, second, _ = rest.partition("/")
        if not second:
            return [f"{head}/{name}/" for name in _categories()]
        return [f"{head}/{category}/{name}" for name in _tracepoints().get(category, ())]
    if head in ("raw_tp", "raw_tracepoint", "tp_btf", "raw_tp.w", "raw_tracepoint.w"):
        return [f"{head}/{name}" for name in hooks.raw_tracepoints()]
    if head.split(".")[0] == "iter":
        return [f"{head}/{name}" for name in hooks.iterators() if "__safe_" not in name]
    if head.split(".")[0] in ("fentry", "fexit", "fmod_ret", "kprobe", "kretprobe") and len(rest) >= 2:
        return [f"{head}/{name}" for name in _named("func", rest)]
    return hooks.SECTIONS


def _places(fragment: str, body: str) -> Iterable[str]:
    """FUNC= for each function of a cell in bcc's dialect that could be a program; behind it, sections."""
    function, equals, section = fragment.partition("=")
    if equals:
        return (f"{function}={name}" for name in _sections(section))
    return (f"{name}=" for name, found in functions(body).items() if not found.local)


def _annotation_words(macro: str) -> list[str]:
    from bpfnb.annotations import FORMATS, UNITS, VIEWS

    if macro == "VIEW":
        return list(dict.fromkeys([*VIEWS, *(word for words in VIEWS.values() for word in words)]))
    return list(UNITS if macro == "UNIT" else FORMATS)


# What this kernel and this machine offer


@cache
def _tracepoints() -> dict[str, list[str]]:
    from bpfnb.kernel.hooks import tracepoints

    found: dict[str, list[str]] = {}
    for name in tracepoints():
        category, _, event = name.partition(":")
        found.setdefault(category, []).append(event)
    return found


def _categories() -> list[str]:
    return sorted(_tracepoints())


def _helpers() -> list[str]:
    from bpfnb.kernel.hooks import helpers

    return helpers()


@cache
def _constants() -> tuple[str, ...]:
    """Map types and attach flags, which cells write most, by the kernel's own enums."""
    from bpfnb.btf import Btf, Enum

    btf = Btf.kernel()
    found = (btf.get(name, "enum") for name in ("bpf_map_type", "bpf_prog_type"))
    return tuple(label for enum in found if isinstance(enum, Enum) for label, _ in enum.values)


def _named(kind: str, start: str) -> list[str]:
    from bpfnb.btf import Btf

    # Names with __safe_ mark types for the verifier alone.
    names = (n for n in Btf.kernel().names(kind) if n.startswith(start) and "__safe_" not in n)
    return list(islice(names, LIMIT))


def _type_names(start: str) -> list[str]:
    """Kernel structs, unions and enums; only from two letters on, since there are thousands."""
    if len(start) < 2:
        return []
    return [name for kind in ("struct", "union", "enum") for name in _named(kind, start)]


@cache
def _kernel_members(struct: str) -> dict[str, str]:
    """The members of a kernel struct, each with the struct that it is or points to, or nothing."""
    from bpfnb.btf import Btf, Composite, Pointer, fields

    btf = Btf.kernel()
    found = (btf.get(struct, "struct") or btf.get(struct, "union")) if struct else None
    if found is None:
        return {}
    members = {}
    for member in fields(btf, found):
        target = btf.resolve(member.type)
        if isinstance(target, Pointer):
            target = btf.resolve(target.target)
        members[member.name] = target.name if isinstance(target, Composite) else ""
    return members


def _interfaces() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def _kernels() -> list[str]:
    """Versions that were fetched, newest first; no other is looked for while somebody types."""
    from bpfnb.vm.kernels import cached

    return [".".join(map(str, kernel.version)) for kernel in reversed(cached())]


def _guests() -> list[str]:
    """Names of guests that run, then kernels of which one can be started."""
    from bpfnb.vm import machines

    return [*machines, *_kernels()]


def _object_names() -> list[str]:
    from bpfnb import objects

    return list(objects)


def _variables(name: str) -> list[str]:
    from bpfnb import objects

    return list(objects[name].vars) if name in objects else []


def _pick(fragment: str, names: Iterable[str], kind: str) -> Completions:
    """The names that begin with the fragment, each once, at most LIMIT."""
    fitting = dict.fromkeys(name for name in names if name.startswith(fragment))
    return Completions(fragment, tuple(Candidate(name, kind) for name in islice(fitting, LIMIT)))
