"""Why one of bcc's tools, or another foreign script, ended with an error: in words, with what serves instead."""

from __future__ import annotations

import re
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

from bpfnb.bcc.missing import missing_hook
from bpfnb.errors import AttachError, BpfnbError, VerifierError
from bpfnb.kernel.features import features

__all__ = ["probes", "reason"]

# Probes on kernel functions, as tools write them: attach_kprobe(event="x"), kprobe__x, KFUNC_PROBE(x, ...), and
# attach_kprobe(event=b.get_syscall_fnname("x")), often by way of a variable.
_PROBES = re.compile(
    r"""\battach_(kprobe|kretprobe)\(\s*event(?:_re)?\s*=\s*[br]*["']([\w.^$*+|()\\\[\]-]+)["']
      | \b(kprobe|kretprobe)__(\w+)\s*\(
      | \b(KFUNC_PROBE|KRETFUNC_PROBE)\((\w+)
      | \bget_(syscall)_fnname\(b?["'](\w+)["']""",
    re.X,
)
_KINDS = {"KFUNC_PROBE": "fentry", "KRETFUNC_PROBE": "fexit", "syscall": "ksyscall"}
_OF_FUNCTIONS = ("kprobe", "kretprobe", "fentry", "fexit", "fmod_ret")
_LISTED = 12
_PACKAGE = Path(__file__).parent.parent
_OVERRIDE = (
    "It changes what functions return (bpf_override_return), which takes CONFIG_BPF_KPROBE_OVERRIDE too."
)


def reason(path: Path, error: Exception) -> str:
    """What to print of the *error* that ended the tool at *path*."""
    kprobes = _lacks_kprobes()
    if isinstance(error, BpfnbError):
        if kprobes and isinstance(error, AttachError) and (error.section or "").startswith(_OF_FUNCTIONS):
            return _without_kprobes(path, _rendered(error))
        if kprobes and isinstance(error, VerifierError) and "bpf_override_return" in error.message:
            return _without_kprobes(path, _OVERRIDE)
        return _rendered(error)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if kprobes and "kprobe" in said:
        return _without_kprobes(path, "" if isinstance(error, FileNotFoundError) else said)
    if type(error).__module__ == "_curses":
        return (
            f"{path.name} draws on a terminal, and its output does not go to one.\n"
            f"  hint: in a terminal: bpfnb script {path}"
        )
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(frames[-1].filename).is_relative_to(_PACKAGE)
    heading = "bpfnb failed, and {} with it" if ours else "{} ended with an error of its own"
    return "\n".join([f"{heading.format(path.name)}: {said}", *_places(frames, ours)])


def probes(text: str) -> list[str]:
    """The kernel functions that a tool's text puts probes on, as ``kprobe:vfs_read``, in order, each once."""
    found: dict[str, None] = {}
    for match in _PROBES.finditer(text):
        kind, name = [group for group in match.groups() if group]
        if not name.isupper():  # else a word that the tool replaces by a function
            found[f"{_KINDS.get(kind, kind)}:{name}"] = None
    return list(found)


def _rendered(error: BpfnbError) -> str:
    """An error as it is shown, without the way to its log, which is not open to those who see the output only."""
    return "\n".join(line for line in error.render().splitlines() if "the exception's `log`" not in line)


def _places(frames: traceback.StackSummary, ours: bool) -> list[str]:
    """The calls that led to an error, without those that started the tool unless the error is *ours*."""
    return [
        f"  {'/'.join(Path(frame.filename).parts[-2:])}, line {frame.lineno}: {frame.line}"
        for frame in frames
        if ours or not (frame.filename.startswith("<") or Path(frame.filename).is_relative_to(_PACKAGE))
    ]


def _lacks_kprobes() -> bool:
    trial = features().attach.get("kprobe")
    return trial is not None and trial.ok is False


def _without_kprobes(path: Path, message: str) -> str:
    """What to say where a tool failed at its probes, or at looking for functions to probe."""
    wanted = probes(path.read_text(errors="replace"))
    lines = [f"{path.name} needs probes on kernel functions, and this kernel has no kprobes."]
    if wanted:
        more = f" and {len(wanted) - _LISTED} more" if len(wanted) > _LISTED else ""
        lines.append(f"  its probes: {', '.join(wanted[:_LISTED])}{more}")
    lines += [message] if message else []
    hints = _own_tool(path) + ([] if "hint: " in message else _replacements(wanted))
    return "\n".join([*lines, *(f"  hint: {hint}" for hint in hints)])


def _own_tool(path: Path) -> list[str]:
    """A hint where bpfnb has a tool of the same name. Its package is looked at, and not imported."""
    name = path.name.removesuffix(".py").removesuffix("-bpfcc")
    found = find_spec("bpfnb.tools")
    imported = getattr(sys.modules.get("bpfnb.tools"), "__path__", None)
    folders = imported or (found and found.submodule_search_locations) or []
    if not any((Path(folder) / f"{name}.py").is_file() for folder in folders):
        return []
    return [f"bpfnb has a {name} of its own that needs no kprobes: %bpf tool {name}"]


def _replacements(wanted: list[str]) -> list[str]:
    """What serves instead of the first few functions for which something does."""
    found: dict[str, None] = {}
    for probe in wanted:
        for name in re.findall(r"\w{4,}", probe.partition(":")[2]):
            missing = missing_hook(probe.partition(":")[0], name)
            found.update(
                dict.fromkeys(hint for hint in missing.hints if hint.startswith("Instead")) if missing else {}
            )
    return list(found)[:4]
