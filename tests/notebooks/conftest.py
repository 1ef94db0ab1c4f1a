"""The notebook that a test module is about, executed once for all its tests, and once more for a second try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bpfnb.demo import execute
from bpfnb.doctor import permitted

_executed: tuple[Path, Any] | None = None


@pytest.fixture
def notebook(request: pytest.FixtureRequest) -> Any:
    """The one at the module's ``NOTEBOOK``, executed on the live kernel.

    Its function ``missing()``, where it has one, says what this machine lacks for it, or None.
    """
    global _executed
    module = request.module
    refused = permitted()
    lacks = refused.message if refused is not None else getattr(module, "missing", lambda: None)()
    if lacks is not None:
        pytest.skip(lacks)
    again = getattr(request.node, "execution_count", 1) > 1
    if again or _executed is None or _executed[0] != module.NOTEBOOK:
        _executed = module.NOTEBOOK, execute(module.NOTEBOOK)
    return _executed[1]
