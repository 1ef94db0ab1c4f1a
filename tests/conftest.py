"""Counts the tests that really ran on a kernel, so that skipping all of them cannot pass unseen.

Tests that share the machine's kernel, its servers or a browser with whatever else runs there have one second try, with
what their module made for all its tests made anew. It is named in the summary with what went wrong in the first, and
more than a few second tries fail the suite.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bpfnb.bcc.find import module
from bpfnb.errors import MissingDependency

KERNEL_TESTS = Path(__file__).parent / "kernel"
UNIT_TESTS = Path(__file__).parent / "unit"
SECOND_TRIES = 12
FLOOR = int(os.environ.get("BPFNB_KERNEL_FLOOR", "400"))
_ran: set[str] = set()
_again: list[str] = []


@pytest.fixture(scope="session")
def bcc_installed() -> None:
    try:
        module()
    except MissingDependency as error:
        pytest.skip(error.message)


def pytest_configure() -> None:
    """A suite that a shell began in the background ignores interrupts, under nohup hang-ups, and so would all it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if KERNEL_TESTS in item.path.parents:
            item.add_marker(pytest.mark.kernel)
        if UNIT_TESTS not in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A second try measures again: it does not look once more at what the first one's module measured."""
    if getattr(item, "execution_count", 1) < 2 or not isinstance(item, pytest.Function):
        return
    for made in item._fixtureinfo.name2fixturedefs.values():
        if made[-1].scope in ("class", "module"):
            made[-1].finish(item._request)  # type: ignore[arg-type]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.outcome != "skipped" and "kernel" in report.keywords:
        _ran.add(report.nodeid)
    if report.outcome == "rerun":
        _again.append(f"{report.nodeid}\n{report.longreprtext}")


def _missed(config: pytest.Config) -> bool:
    """Whether the whole suite was asked for and too few kernel tests ran."""
    chosen = config.option.keyword or config.option.markexpr or config.args != config.getini("testpaths")
    return not chosen and len(_ran) < FLOOR


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and (_missed(session.config) or len(_again) > SECOND_TRIES):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"kernel tests run: {len(_ran)} (floor for the whole suite: {FLOOR})")
    if _again:
        terminalreporter.section(f"second tries: {len(_again)} (at most {SECOND_TRIES})")
        for one in _again:
            terminalreporter.write_line(one)
    if _missed(config):
        terminalreporter.write_line(
            "Too few tests ran on a kernel: the reasons are among the skips above. "
            "Where BPF is not permitted, BPFNB_KERNEL_FLOOR=0 accepts that.",
            red=True,
        )
