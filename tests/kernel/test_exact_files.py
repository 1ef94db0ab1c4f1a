"""Files at the edges: names that many have, names of any bytes, and paths as long as there are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest
from workloads import Worker, await_true

from bpfnb import tools

MAKE = """
def make(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
os.chdir({folder!r})
"""


@pytest.fixture
def folder() -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="bpfnb-test-", dir="/dev/shm")
    yield made
    shutil.rmtree(made)


def test_each_of_many_files_of_one_name_has_its_end(folder: str) -> None:
    with Worker() as worker, tools.filelife(pid=worker.pid) as life:
        worker.run(MAKE.format(folder=folder))
        worker.run("for i in range(300): os.mkdir(str(i)); make(f'{i}/same')")
        worker.run("for i in range(0, 300, 3): os.unlink(f'{i}/same')")
        worker.run("for i in range(0, 300, 3): make(f'{i}/same')")
        worker.run("for i in range(299, -1, -1): os.rename(f'{i}/same', f'{i}/other')")
        worker.run("for i in range(300): os.unlink(f'{i}/other')")
        expected = [f"{folder}/{i}/same" for i in range(0, 300, 3)]
        expected += [f"{folder}/{i}/other" for i in range(300)]
        assert life.wait(len(expected), 60)
        await_true(lambda: life.frames.fill == 0)
        frame = life.df
        births = life.object.maps["births"].df
        assert (births["state"] % 2 == births["state"].gt(0)).all()  # all are taken
    assert frame["path"].tolist() == expected
    assert frame.attrs["bpfnb"]["complete"]
    ages = dict(zip(frame["path"], frame["age"], strict=True))
    assert min(ages[f"{folder}/{i}/other"] for i in range(300) if i % 3) > max(
        ages[f"{folder}/{i}/other"] for i in range(0, 300, 3)
    )  # these are the second of their path


def test_what_is_forgotten_hides_nothing_else(folder: str) -> None:
    """Of 100 births of one name the 40 oldest give way to others."""
    with Worker() as worker, tools.filelife(pid=worker.pid) as life:
        worker.run(MAKE.format(folder=folder))
        worker.run("for i in range(100): os.mkdir(str(i)); make(f'{i}/same')")
        worker.run("make('turn')")
        worker.run(
            f"for _ in range({(65536 - 60 - 2) // 2}): os.rename('turn', 'back'), os.rename('back', 'turn')"
        )
        worker.run("os.rename('turn', 'back')")  # births 102 to 65576
        worker.run("for i in range(100): os.unlink(f'{i}/same')\nos.unlink('back')")
        assert life.wait(61, 60)
        await_true(lambda: life.frames.fill == 0)
        frame = life.df
    assert frame["path"].tolist() == [*(f"{folder}/{i}/same" for i in range(40, 100)), f"{folder}/back"]
    assert frame.attrs["bpfnb"]["complete"]


def test_files_are_known_wherever_they_move(folder: str) -> None:
    """One's creator is not the other's, so that they cannot be taken for each other."""
    with Worker() as one, Worker() as other, tools.filelife(pid=[one.pid, other.pid]) as life:
        for worker in (one, other):
            worker.run(MAKE.format(folder=folder))
        one.run("os.mkdir('one'), os.mkdir('two'), os.mkdir('three')")
        one.run("make('one/same')")
        other.run("make('two/same')")
        one.run("libc.renameat2(-100, b'one/same', -100, b'two/same', 2), os.unlink('one/same')")
        one.run("make('one/same'), os.rename('one', 'four')")
        one.run("os.rename('two/same', 'three/same'), os.chdir('four'), os.unlink('same'), os.chdir('..')")
        one.run("three = os.open('three', os.O_RDONLY)")
        one.run("os.unlink('same', dir_fd=three), make('three/same'), os.rename('three', 'five')")
        other.run("make('same'), os.rename('same', 'five/same')")
        one.run("os.unlink('same', dir_fd=three), os.close(three), os.chdir('/')")
        assert life.wait(5, 30)
        await_true(lambda: life.frames.fill == 0)
        frame = life.df
    assert frame[["path", "pid", "cpid"]].to_numpy().tolist() == [
        [f"{folder}/one/same", one.pid, other.pid],
        [f"{folder}/four/same", one.pid, one.pid],
        [f"{folder}/three/same", one.pid, one.pid],
        [f"{folder}/five/same", other.pid, one.pid],
        [f"{folder}/five/same", one.pid, other.pid],
    ]


def test_who_works_at_the_same_time_on_files_of_one_name_gets_each_its_own(folder: str) -> None:
    rounds = 2000
    with Worker() as one, Worker() as other, tools.filelife(pid=[one.pid, other.pid]) as life:
        for worker, name in ((one, "one"), (other, "other")):
            worker.run(MAKE.format(folder=folder))
            worker.run(f"os.mkdir('{name}')")
        one.start(f"for _ in range({rounds}): make('one/a'), os.rename('one/a', 'one/b'), os.unlink('one/b')")
        other.start(f"for _ in range({rounds}): make('other/a'), os.unlink('other/a')")
        one.finish(), other.finish()
        one.run("os.chdir('one')"), other.run("os.chdir('other')")
        for worker in (one, other):
            worker.start(
                f"for _ in range({rounds}): make('a'), make('b'), os.rename('a', 'b'), os.unlink('b')"
            )
        one.finish(), other.finish()
        assert life.wait(6 * rounds, 60)
        await_true(lambda: life.frames.fill == 0)
        frame = life.df
        for worker in (one, other):
            worker.run("os.chdir('/')")
    assert (frame["pid"] == frame["cpid"]).all()
    assert frame.groupby(["pid", "path"]).size().to_dict() == {
        (one.pid, f"{folder}/one/b"): 3 * rounds,
        (other.pid, f"{folder}/other/a"): rounds,
        (other.pid, f"{folder}/other/b"): 2 * rounds,
    }
    assert frame.attrs["bpfnb"]["complete"]


def test_names_of_any_bytes_and_the_ways_that_names_go(folder: str) -> None:
    with Worker() as worker, tools.filelife(pid=worker.pid) as life:
        worker.run(MAKE.format(folder=folder))
        worker.run(
            r"for name in (b'new\nline', b'\xff\xfe', 'é'.encode() * 100): make(name), os.unlink(name)"
        )
        worker.run("os.close(os.open('.', os.O_TMPFILE | os.O_RDWR, 0o600))")  # has no name
        worker.run(
            "make('p'), make('q'), libc.renameat2(-100, b'p', -100, b'q', 2), os.unlink('p'), os.unlink('q')"
        )
        worker.run("os.mkdir('e'), make('e/in'), os.rename('e', 'f'), os.unlink('f/in')")
        worker.run("os.chdir('/')")
        assert life.wait(6, 30)
        await_true(lambda: life.frames.fill == 0)
        paths = life.df["path"].tolist()
    assert paths == [
        f"{folder}/{name}" for name in ("new\nline", "\ufffd\ufffd", "é" * 100, "p", "q", "f/in")
    ]


def test_paths_as_long_as_there_are(folder: str) -> None:
    """Whole; what starts from too deep a directory loses its beginning, never the name itself."""
    names = ["x", "./" * 2000 + "y", "z" * 255, "./" * 2046 + "abc", "./" * 2048]
    with (
        Worker() as worker,
        tools.opensnoop(pid=worker.pid, path="/") as given,
        tools.opensnoop(pid=worker.pid, full_path=True) as full,
    ):
        worker.run(f"os.chdir({folder!r})")
        worker.run("for _ in range(15): os.mkdir('n' * 250), os.chdir('n' * 250)")
        errors = worker.run(
            f"result = []\nfor name in {names}:\n"
            "    try: os.close(os.open(name, os.O_CREAT | os.O_RDWR)); result.append('0')\n"
            "    except OSError as error: result.append('ENAMETOOLONG' if error.errno == 36 else str(error))\n"
            "os.chdir('/')"
        )
        assert errors == [*["0"] * 4, "ENAMETOOLONG"]
        assert full.wait(5, 30)
        assert given.wait(3, 30)
        frame, paths = full.df, given.df["path"].tolist()
    deep = (f"{folder}/" + "/".join(["n" * 250] * 15))[-2047:]
    assert frame["path"].tolist() == [
        f"{deep}/x",
        names[1],
        f"{deep}/{names[2]}",
        names[3],
        names[4][:4095],
    ]
    assert frame["err"].tolist() == errors
    assert paths == [names[1], names[3], names[4][:4095]]
