"""Kernel tests need BPF; where it is not permitted they are skipped, with the reason."""

from __future__ import annotations

import pytest

from bpfnb.doctor import permitted


@pytest.fixture(scope="session", autouse=True)
def _may_use_bpf() -> None:
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
