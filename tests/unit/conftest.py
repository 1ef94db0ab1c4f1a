"""An IPython shell of a test's own, with bpfnb's extension loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def _ipython() -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def shell(_ipython: Any) -> Iterator[Any]:
    _ipython.extension_manager.load_extension("bpfnb")
    yield _ipython
    _ipython.extension_manager.unload_extension("bpfnb")
    _ipython.reset()
