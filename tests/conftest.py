"""Counts the tests that really ran on a kernel, so that skipping all of them cannot pass unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

KERNEL_TESTS = Path(__file__).parent / "kernel"
FLOOR = int(os.environ.get("BPFNB_KERNEL_FLOOR", "400"))
_ran: set[str] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if KERNEL_TESTS in item.path.parents:
            item.add_marker(pytest.mark.kernel)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome != "skipped" and "kernel" in report.keywords:
        _ran.add(report.nodeid)


def _missed(config: pytest.Config) -> bool:
    """Whether the whole suite was asked for and too few kernel tests ran."""
    chosen = config.option.keyword or config.option.markexpr or config.args != config.getini("testpaths")
    return not chosen and len(_ran) < FLOOR


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _missed(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"kernel tests run: {len(_ran)} (floor for the whole suite: {FLOOR})")
    if _missed(config):
        terminalreporter.write_line(
            "Too few tests ran on a kernel: the reasons are among the skips above. "
            "Where BPF is not permitted, BPFNB_KERNEL_FLOOR=0 accepts that.",
            red=True,
        )
