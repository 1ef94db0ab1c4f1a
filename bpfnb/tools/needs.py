"""Which kernel a tool needs: what its documentation says, told where its program is refused by an older one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from bpfnb.errors import AttachError, CompileError, KernelFeatureMissing, LoadError, VerifierError

__all__ = ["since", "told"]

_SENTENCE = re.compile(r"(?:^|[.:]\s+)Linux (\d+)\.(\d+)", re.MULTILINE)
_REFUSALS = (CompileError, VerifierError, LoadError, AttachError)


def since(documentation: str) -> tuple[int, int] | None:
    """The first version that a tool loads on: of the sentence that begins with it ("Linux 6.3.")."""
    found = _SENTENCE.findall(documentation)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


@contextlib.contextmanager
def told(name: str, documentation: str, on: Any = None) -> Iterator[None]:
    """A kernel older than the tool needs is named, whatever its refusal looked like; a newer one's stays as it is.

    *on* is the guest, where it is not this machine's kernel. Raises KernelFeatureMissing.
    """
    try:
        yield
    except _REFUSALS as error:
        release = os.uname().release if on is None else on.kernel.release
        wanted = since(documentation)
        if wanted is None or _version(release) >= wanted:
            raise
        first = ".".join(map(str, wanted))
        raise KernelFeatureMissing(
            f"'{name}' needs Linux {first}; this kernel is {release}",
            feature=f"Linux {first}",
            errno=getattr(error, "errno", 0) or 0,
            log=str(error),
            hints=[error.message],
        ) from error


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", release)[:2])
