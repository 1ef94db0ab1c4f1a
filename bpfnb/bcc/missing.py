"""Why a program in bcc's dialect cannot be attached on this kernel, in the words of that dialect."""

from __future__ import annotations

import os
import re
from errno import EINVAL

from bpfnb.btf import Btf
from bpfnb.btf_text import declare
from bpfnb.btf_types import Func, FuncProto
from bpfnb.errors import AttachError, KernelFeatureMissing, nearest
from bpfnb.kernel.features import check_section
from bpfnb.kernel.hooks import raw_tracepoints, tracepoints

__all__ = [
    "kprobe_refused",
    "missing_for",
    "missing_hook",
    "missing_section",
    "raw_tracepoint_refused",
    "tracepoint_refused",
]

# The names under which bcc loads programs that the kernel may not have, and what they are for.
_KINDS = {"kfunc__": "fentry", "kretfunc__": "fexit", "kmod_ret__": "fmod_ret", "lsm__": "lsm"}


def missing_for(name: str) -> KernelFeatureMissing | None:
    """Why a function of that name could not be loaded, where the kernel lacks its kind of hook."""
    for prefix, kind in _KINDS.items():
        if name.startswith(prefix):
            return missing_hook(kind, name.removeprefix(prefix))
    return None


def missing_hook(kind: str, target: str) -> KernelFeatureMissing | None:
    """Why this kernel has no hook of that *kind* (``kprobe``, ``fentry`` ...) on a function, None where it has."""
    return missing_section(f"{kind}/{target}")


def missing_section(section: str) -> KernelFeatureMissing | None:
    """Why a function cannot be attached as a section says on this kernel, in bcc's words; None where it can."""
    missing = check_section(section)
    return missing and _in_words_of_bcc(missing)


def kprobe_refused(probe: str, target: str, errno: int, log: str) -> AttachError | KernelFeatureMissing:
    """The error for a *probe* (``kprobe``, ``kretprobe``) that the kernel refused on a function."""
    if missing := missing_hook(probe, target):
        return missing
    reason = os.strerror(errno) if errno else "refused"
    return AttachError(
        f"A {probe} cannot be attached to {target}: {reason}.",
        section=f"{probe}/{target}",
        errno=errno,
        log=log,
    )


def tracepoint_refused(name: str, errno: int, log: str) -> AttachError:
    """The error for a tracepoint (``sched:sched_switch``) that the kernel refused."""
    known = tracepoints()
    hints: list[str] = []
    if name in known:
        message = f"The program cannot be attached to tracepoint {name}: {os.strerror(errno)}."
    else:
        message = f"This kernel has no tracepoint {name}."
        hints = [f"did you mean {', '.join(near)}?"] if (near := nearest(name, list(known))) else []
    return AttachError(message, section=f"tracepoint/{name}", errno=errno, hints=hints, log=log)


def raw_tracepoint_refused(name: str, errno: int, log: str) -> AttachError:
    """The error for a raw tracepoint (``sched_switch``) that the kernel refused."""
    hints: list[str] = []
    if name not in (known := raw_tracepoints()):
        message = f"This kernel has no raw tracepoint {name}."
        hints = [f"did you mean {', '.join(near)}?"] if (near := nearest(name, list(known))) else []
    elif errno == EINVAL:  # bpf_probe_register() compares what the program reads with what there is
        message = f"The program reads more arguments than raw tracepoint {name} has in this kernel"
        message += f": {found}." if (found := _arguments(name)) else "."
    else:
        message = f"The program cannot be attached to raw tracepoint {name}: {os.strerror(errno)}."
    return AttachError(message, section=f"raw_tp/{name}", errno=errno, hints=hints, log=log)


def _arguments(name: str) -> str:
    """The arguments of a raw tracepoint as C has them, empty where BTF does not name them."""
    btf = Btf.kernel()
    function = btf.get(f"__traceiter_{name}", "func")
    if not isinstance(function, Func):
        return ""
    proto = btf[function.proto]
    assert isinstance(proto, FuncProto)
    return ", ".join(
        declare(btf, kind, name) for name, kind in proto.params[1:]
    )  # the first is the tracepoint's own


def _in_words_of_bcc(error: KernelFeatureMissing) -> KernelFeatureMissing:
    """The same with hooks spelled as bcc's dialect does."""

    def spell(text: str) -> str:
        text = re.sub(r'SEC\("tracepoint/(\w+)/(\w+)"\)', r"TRACEPOINT_PROBE(\1, \2)", text)
        return re.sub(r'SEC\("(?:tp_btf|raw_tp)/(\w+)"\)', r"RAW_TRACEPOINT_PROBE(\1)", text)

    target = error.section.partition("/")[2]
    use = f"this program puts on {target}" if target else "this program needs"
    message = error.message.replace(f'SEC("{error.section}") needs', use)
    return KernelFeatureMissing(
        spell(message),
        hints=[spell(hint) for hint in error.hints],
        feature=error.feature,
        section=error.section,
        errno=error.errno,
    )
