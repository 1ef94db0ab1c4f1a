"""softirqs, hardirqs, cpuidle and cpufreq on the live kernel, against the kernel's own counters before and after."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from bpfnb.bpf import TOOLS
from workloads import Worker

from bpfnb import load, tools
from bpfnb.errors import BadValue, KernelFeatureMissing

CPUS = os.cpu_count() or 1

Counts = Counter[str]


def softirqs() -> Counts:
    lines = Path("/proc/softirqs").read_text().splitlines()[1:]
    return Counter(
        {name.strip(): sum(map(int, rest.split())) for name, rest in (one.split(":") for one in lines)}
    )


VECTORS = {"LOC": "local_timer", "RES": "reschedule", "IWI": "irq_work"}
TRACED = Path("/sys/kernel/tracing/events/irq_vectors")


def interrupts() -> Counts:
    """By the handler's name, and those vectors that have tracepoints; shared lines are left out."""
    found: Counts = Counter()
    head, *lines = Path("/proc/interrupts").read_text().splitlines()
    for line in lines:
        label, *words = line.split()
        label = label.rstrip(":")
        if (label.isdigit() or (label in VECTORS and TRACED.is_dir())) and "," not in line:
            counts = words[: len(head.split())]
            found[VECTORS.get(label, words[-1])[:31]] += sum(int(word) for word in counts if word.isdigit())
    return found


def idles() -> Counts:
    """How often each CPU was in each state: ``0 POLL``."""
    found: Counts = Counter()
    for state in Path("/sys/devices/system/cpu").glob("cpu*/cpuidle/state*"):
        cpu = state.parts[-3].removeprefix("cpu")
        found[f"{cpu} {(state / 'name').read_text().strip()}"] = int((state / "usage").read_text())
    return found


class Bounds:
    """What the kernel counted at least and at most while a tool looked."""

    def __init__(self, read) -> None:
        self.read = read
        self.outer = [read()]
        self.inner: list[Counts] = []

    @contextmanager
    def work(self) -> Iterator[None]:
        self.inner.append(self.read())
        yield
        self.inner.append(self.read())

    def end(self) -> None:
        self.outer.append(self.read())

    def hold(self, name: str, count: int) -> bool:
        """One may be going on on each CPU whenever the counters are read."""
        least, most = (pair[1][name] - pair[0][name] for pair in (self.inner, self.outer))
        return least - 2 * CPUS <= count <= most + 2 * CPUS


def test_softirqs_are_those_of_the_kernel():
    bounds = Bounds(softirqs)
    with tools.softirqs() as irqs, tools.softirqs(dist=True) as spread, tools.softirqs(cpus=True) as apart:
        with Worker(netns=True) as worker, bounds.work():
            worker.run("udp(2000)")
        for tool in (irqs, spread, apart):
            tool.stop()
        bounds.end()
        counts = {
            tool: tool.df.groupby("softirq", observed=True)["count"].sum() for tool in (irqs, spread, apart)
        }
        frame, slots = irqs.df, spread.df
        assert spread.view().total == slots["count"].sum()
        assert [*apart.df] == ["softirq", "cpu", "count", "total", "mean"]
    for of in counts.values():
        assert of["NET_RX"] >= 2000  # one a datagram: the sender waits for each
        assert [name for name in of.index if not bounds.hold(name, int(of[name]))] == []
    assert (frame["mean"] == frame["total"] // frame["count"]).all()
    assert (slots["total"] >= slots["low"] * slots["count"]).all()
    assert (slots["total"] < slots["high"] * slots["count"]).all()
    assert frame.attrs["bpfnb"]["lost"] == 0


def test_softirqs_of_a_process_are_those_that_interrupt_it():
    with (
        Worker(netns=True) as worker,
        Worker(netns=True) as other,
        tools.softirqs(pid=worker.pid) as irqs,
        tools.softirqs(pid=other.pid) as none,
    ):
        worker.run("udp(500)")
        assert irqs.df.set_index("softirq")["count"]["NET_RX"] >= 500  # loopback: the sender serves it itself
        assert none.df["count"].sum() < 100


def test_interrupts_are_those_of_the_kernel():
    bounds = Bounds(interrupts)
    with tools.hardirqs() as irqs, tools.hardirqs(dist=True, cpus=True) as spread:
        with Worker() as worker, bounds.work():
            worker.run(
                "burn(0.3)\nwrites('/var/tmp/bpfnb-irqs', [4096] * 10)\nos.sync()\nos.remove('/var/tmp/bpfnb-irqs')"
            )
        irqs.stop()
        spread.stop()
        bounds.end()
        frame, slots = irqs.df, spread.df
        assert spread.view().total == slots["count"].sum()
    assert [*slots] == ["name", "irq", "cpu", "low", "high", "count", "total"]
    counts = Counter(frame.groupby("name")["count"].sum().astype(int).to_dict())
    assert [name for name in bounds.outer[0] if not bounds.hold(name, counts[name])] == []
    assert sum(counts.values()) > 0
    if TRACED.is_dir():
        assert counts["local_timer"] >= 10
        assert frame.loc[frame["name"] == "local_timer", "irq"].isna().all()


def test_idle_states_are_those_of_the_kernel():
    if not idles():
        pytest.skip("this machine has no cpuidle driver")
    bounds = Bounds(idles)
    with tools.cpuidle() as idle, tools.cpuidle(dist=True) as spread:
        with Worker() as worker, bounds.work():
            worker.run("[time.sleep(0.002) for _ in range(100)]")
        idle.stop()
        spread.stop()
        bounds.end()
        frame, slots = idle.df, spread.df
        assert spread.view().total == slots["count"].sum()
    counts = (
        (frame["cpu"].astype(str) + " " + frame["state"].astype(str))
        .to_frame("name")
        .assign(count=frame["count"])
    )
    found = Counter(counts.set_index("name")["count"].astype(int).to_dict())
    assert [name for name in bounds.outer[1] if not bounds.hold(name, found[name])] == []
    assert {*found} <= {*bounds.outer[1]}
    assert [*slots] == ["state", "low", "high", "count", "total"]
    with pytest.raises(BadValue, match="nothing to filter by"):
        tools.cpuidle(pid=1)


def test_frequencies_are_told_where_the_kernel_sets_them(tmp_path, monkeypatch):
    program = load(TOOLS / "cpufreq.bpf.c", name="cpufreq_program")  # which the verifier accepts everywhere
    assert program.state == "attached"
    program.close()
    monkeypatch.setattr(import_module("bpfnb.tools.cpufreq"), "POLICIES", tmp_path)
    with pytest.raises(KernelFeatureMissing, match="sets no CPU frequencies") as caught:
        tools.cpufreq()
    assert "virtual machine" in caught.value.hints[0]
    (tmp_path / "policy0").mkdir()
    (tmp_path / "policy0/scaling_driver").write_text("intel_pstate\n")
    with pytest.raises(KernelFeatureMissing, match="chooses its frequencies itself"):
        tools.cpufreq()
    (tmp_path / "policy0/scaling_driver").write_text("acpi-cpufreq\n")
    with tools.cpufreq() as frequencies:
        assert [*frequencies.df] == ["time", "cpu", "frequency"]
