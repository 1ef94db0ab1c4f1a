"""Counts the tests that really ran on a kernel, so that skipping all of them cannot pass unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

KERNEL_TESTS = Path(__file__).parent / "kernel"
FLOOR = int(os.environ.get("BPFNB_KERNEL_FLOOR", "1"))
_ran: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if KERNEL_TESTS in item.path.parents:
            item.add_marker(pytest.mark.kernel)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome != "skipped" and "kernel" in report.keywords:
        _ran.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    whole = not session.config.args or session.config.args == session.config.getini("testpaths")
    if whole and exitstatus == 0 and len(_ran) < FLOOR:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"kernel tests run: {len(_ran)} (floor for the whole suite: {FLOOR})")
