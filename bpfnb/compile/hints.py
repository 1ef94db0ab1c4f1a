"""."""

from __future__ import annotations
from collections.abc import Sequence
from bpfnb.compile.headers import Headers
from bpfnb.compile.source import Source
from bpfnb.errors import Diagnostic


def hints(errors: Sequence[Diagnostic], source: Source, headers: Headers) -> list[str]:
    return []
