"""Flame graphs name the user addresses of the processes that their rows are of."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bpfnb.errors import UnknownName
from bpfnb.symbols import MACHINE, Kallsyms, Symbolizer
from bpfnb.symbols.perfmap import PerfMap
from bpfnb.views import flamegraph
from bpfnb.views.flames.naming import Naming


def address(name: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value


def lists(*stacks):
    return pd.arrays.ArrowExtensionArray(pa.array(stacks, pa.list_(pa.uint64())))


def paths(view):
    return {line.rpartition(" ")[0] for line in view.folded().splitlines()}


LEAF = address("qsort")


def test_a_column_of_that_name_says_whose_they_are():
    frame = pd.DataFrame({"pid": [os.getpid()], "ustack": lists([LEAF, address("getpid") + 4, 0, 0])})
    assert paths(flamegraph(frame)) == {"getpid;qsort"}


def test_another_column_or_one_process_can_be_named():
    frame = pd.DataFrame({"who": [os.getpid()], "ustack": lists([LEAF])})
    assert paths(flamegraph(frame)) == {f"0x{LEAF:x}"}
    assert paths(flamegraph(frame, pid="who")) == {"qsort"}
    assert paths(flamegraph(frame, pid=os.getpid())) == {"qsort"}
    with pytest.raises(UnknownName, match="there is no column 'whom'"):
        flamegraph(frame, pid="whom")


def test_ids_in_a_map_and_columns_of_elements():
    rows = pd.DataFrame({"tgid": [os.getpid()], "user_stack": np.array([7], np.int32)})
    assert paths(flamegraph(rows, stacks={7: [LEAF, address("getpid") + 4]})) == {"getpid;qsort"}
    spread = pd.DataFrame({"pid": [os.getpid()], "stack.0": [LEAF], "stack.1": [0]})
    assert paths(flamegraph(spread)) == {"qsort"}


def test_equal_addresses_of_two_processes_are_different_stacks():
    """The other process has ended, and was never seen."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    rows = pd.DataFrame({"pid": [os.getpid(), gone.pid] * 2, "user_stack": np.array([7, 7, 8, 7], np.int32)})
    view = flamegraph(rows, stacks={7: [LEAF], 8: [LEAF, address("getpid") + 4]})
    assert set(view.folded().splitlines()) == {
        "qsort 1",
        "getpid;qsort 1",
        "[process has exited] 2",
    }
    # The id is also the other process's, so that rows are picked, not a value.
    view._select(["[process has exited]"])
    assert view.selected["pid"].tolist() == [gone.pid, gone.pid]
    view._select(["qsort"])
    assert view.selected["user_stack"].tolist() == [7]
    assert view.selected["pid"].tolist() == [os.getpid()]


def test_a_process_that_was_seen_alive_keeps_its_names():
    script = "import ctypes; print(ctypes.cast(ctypes.CDLL(None).qsort, ctypes.c_void_p).value, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        there = int(process.stdout.readline())
        assert MACHINE.watch(process.pid)
    frame = pd.DataFrame({"pid": [process.pid], "ustack": lists([there])})
    assert paths(flamegraph(frame)) == {"qsort"}


class Growing(Naming):
    """Names that are better after :attr:`version` has grown."""

    version = 0
    calls = 0

    def may_improve(self, names):
        return "[no perf map]" in names

    def names(self, stacks, owners, order):
        self.calls += len(stacks)
        return [["main", "compiled_[j]" if self.version and len(s) > 1 else "[no perf map]"] for s in stacks]


def test_stacks_are_named_anew_in_their_places_when_more_is_known(monkeypatch):
    naming = Growing()
    monkeypatch.setattr("bpfnb.views.flames.make.Naming", lambda *_, **__: naming)
    frame = pd.DataFrame({"pid": [1, 1], "ustack": lists([1, 2], [3]), "count": [5, 7]})
    view = flamegraph(frame)
    assert view.folded() == "main;[no perf map] 12\n"
    view._build()
    naming.version = 1
    assert view.folded() == "main;[no perf map] 7\nmain;compiled_[j] 5\n"
    assert view._build().meta is not None
    calls = naming.calls
    assert view.tree.total == 12
    assert naming.calls == calls  # nothing is named again unless more is known


def test_kernel_and_user_parts_of_one_stack():
    """Callers are where they called, but neither the leaf nor where the kernel was entered is a caller."""
    text = "ffffffff81000000 T enter\nffffffff81000100 T work\nffffffff81000200 T leaf [mod]\nffffffff81000300 T x\n"
    symbolizer = Symbolizer(kernel=Kallsyms(text.replace(" [mod]", "\t[mod]").encode()))
    stack = [0xFFFFFFFF81000200, 0xFFFFFFFF81000200, 0xFFFFFFFF81000010, LEAF, address("getpid") + 4, 0, 0]
    wanted = ["getpid", "qsort", "enter_[k]", "work_[k]", "leaf [mod]_[k]"]
    assert symbolizer.names([stack, stack[:5]], os.getpid()) == [wanted, wanted]
    assert symbolizer.names([stack[4::-1]], [os.getpid()], order="root") == [wanted]
    leaf = symbolizer.resolve(stack[:1], os.getpid())[0]
    assert (leaf.function, leaf.module, leaf.offset, leaf.kind) == ("leaf", "mod", 0, "kernel")
    assert symbolizer.names([[0xFFFFFFFFF0000000]], 1) == [["0xfffffffff0000000_[k]"]]
    frame = pd.DataFrame({"pid": [os.getpid()], "stack": lists(stack)})
    assert paths(flamegraph(frame, symbolize=symbolizer)) == {";".join(wanted)}


# Perf maps


def found(perfmap, *addresses):
    return [f and f.function for f in perfmap.find(np.array(addresses, np.uint64), np.uint64(0))]


def test_a_perf_map_is_read_as_it_grows():
    perfmap = PerfMap()
    assert perfmap.add(b"1000 10 first\n2000 20 py::work:/srv/a")
    assert found(perfmap, 0x1000, 0x100F, 0x1010) == ["first", "first", None]
    assert perfmap.add(b"pp.py\n0x3000 0x10 JS:*handle /srv/x.js:10:5\nrubbish\n")
    python, script = perfmap.find(np.array([0x2001, 0x3001], np.uint64), np.uint64(0))
    assert (python.function, python.file, python.kind, python.offset) == ("work", "/srv/app.py", "python", 1)
    assert python.names == ["py::work:/srv/app.py"]
    assert (script.file, script.start_line, script.kind) == ("/srv/x.js", 10, "jit")
    assert script.names == ["JS:*handle /srv/x.js:10:5_[j]"]


def test_memory_that_is_used_again_has_the_later_name():
    perfmap = PerfMap()
    perfmap.add(b"".join(b"1000 10 turn%d\n" % turn for turn in range(1000)))
    perfmap.add(b"1008 10 over its end\n0ff8 4 before\n")
    assert found(perfmap, 0x1000, 0x1008, 0x1017, 0xFFB) == [None, "over its end", "over its end", "before"]
    perfmap.add(b"1000 100 large\n")
    assert found(perfmap, 0x1000, 0x1010) == ["large", "large"]


def test_a_perf_map_of_another_user_is_not_believed(tmp_path):
    path = tmp_path / "perf-1.map"
    path.write_text("1000 10 f\n")
    perfmap = PerfMap()
    if os.geteuid() == 0:
        os.chown(path, 4321, -1)
        assert not perfmap.update(path, 1234)
    assert perfmap.update(path, path.stat().st_uid)
    assert not perfmap.update(path, path.stat().st_uid)  # nothing new
    with path.open("a") as more:
        more.write("2000 10 g\n")
    assert perfmap.update(path, path.stat().st_uid)
    assert found(perfmap, 0x1000, 0x2000) == ["f", "g"]
    link = tmp_path / "perf-2.map"
    link.symlink_to(path)
    assert not perfmap.update(link, path.stat().st_uid)


def test_what_is_no_address_is_not_the_kernels_either():
    """A register that holds no frame pointer leads to such: neither in a process nor in the kernel is anything there."""
    wrong = 0xBE55_2274_C085_4800
    frame = pd.DataFrame({"pid": [os.getpid()], "user_stack": lists([LEAF, wrong, wrong + 8])})
    assert paths(flamegraph(frame)) == {"[unknown];qsort"}
    symbols = Symbolizer()
    (found,) = symbols.resolve([wrong], os.getpid())
    assert (found.address, found.kind, found.function, found.reason) == (wrong, "unknown", None, "unknown")
    same_below = wrong & ~(1 << 63)
    assert [f.address for f in symbols.resolve([wrong, same_below], os.getpid())] == [wrong, same_below]
