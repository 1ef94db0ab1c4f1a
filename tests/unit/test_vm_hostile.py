"""A guest in which somebody else has taken the agent's place: what it answers is bounded, checked, and refused by name."""

from __future__ import annotations

import errno
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_agent import Agent

from bpfnb.errors import BpfnbError, MapError
from bpfnb.kernel import maps
from bpfnb.kernel.backend import MapInfo
from bpfnb.kernel.perfbuf import parse
from bpfnb.symbols.maps import Mapping
from bpfnb.vm import channel as wire
from bpfnb.vm import command, readers, remote
from bpfnb.vm.channel import Channel, GuestGone
from bpfnb.vm.command import Command, CommandError
from bpfnb.vm.kernels import Kernel
from bpfnb.vm.readers import GuestRing
from bpfnb.vm.remote import Buffer, Remote
from bpfnb.vm.symbols import _Copies
from bpfnb.vm.system import GuestSystem

PUSHED = 1 << 31
MIB = 1 << 20

Ends = tuple[Channel, Agent]


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    near, far = socket.socketpair()
    channel, agent = Channel(near, lambda: GuestGone("it is gone")), Agent(far)
    channel.name, channel.listed = "6.12", True
    yield channel, agent
    channel.close()
    agent.close()
    far.close()


def refused(channel: Channel, what: str) -> pytest.RaisesExc:
    """By the guest's name, with what to do, and so for all that is asked of it later."""

    def ended(error: GuestGone) -> bool:
        assert list(error.hints) == ["stop it and start another: bpfnb.vm.get('6.12').stop()"]
        with pytest.raises(GuestGone) as later:
            channel.request(wire.HELLO)
        return later.value.message == error.message

    pattern = f"^the guest '6.12' {what}: it is not its agent that speaks"
    return pytest.raises(GuestGone, match=pattern, check=ended)


def attr(done: int) -> bytes:
    """Of a batch, as the kernel leaves it."""
    return remote._BATCH.pack(0, 0, 0, 0, done, 0, 0, 0)


def batch(done: int, code: int = 0, fill: bytes = b"\7") -> Callable[[str, list[int]], tuple]:
    """The answers to look-ups of many entries."""

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        assert name == "syscall"
        return -1 if code else 0, code, [attr(done), *(fill * size for size in sizes[1:])]

    return answer


@pytest.mark.parametrize("back", [b"", b"seven b", b"nine byte"])
def test_memory_of_another_size_than_asked_for(ends: Ends, back: bytes) -> None:
    channel, agent = ends
    agent.answers(lambda name, sizes: (0, 0, [back]))
    with refused(channel, f"answered with {len(back)} bytes where 8 were asked for"):
        Remote(channel).call("getpid", Buffer(size=8, back=True))


@pytest.mark.parametrize(
    "answer",
    [b"", b"fifteen bytes!!", struct.pack("<qIiI", 0, 0, -1, 1 << 31), struct.pack("<qIiI", 0, 0, -1, 0)],
)
def test_an_answer_that_is_too_short(ends: Ends, answer: bytes) -> None:
    channel, agent = ends
    answering = agent.answer(answer)
    with refused(channel, "answered with less than was asked for"):
        Remote(channel).call("getpid", Buffer(size=8, back=True))
    answering.join()


@pytest.mark.parametrize("status", [1, -4096, -(1 << 31)])
def test_a_status_that_is_no_error(ends: Ends, status: int) -> None:
    channel, agent = ends
    threading.Thread(target=lambda: agent.say(agent.hear()[0], b"", status)).start()
    with refused(channel, f"answered with status {status}"):
        Remote(channel).call("getpid")


def test_an_errno_and_a_descriptor_that_are_none(ends: Ends) -> None:
    channel, agent = ends
    agent.answers(lambda name, sizes: (-1, 0xFFFFFFFF, []) if name == "close" else (-7, 0, []))
    with pytest.raises(GuestGone, match=r"the guest \'6\.12\' answered with the descriptor -7"):
        Remote(channel).dup(3)


def test_an_errno_that_is_none(ends: Ends) -> None:
    channel, agent = ends
    agent.answers(lambda name, sizes: (-1, 0xFFFFFFFF, []))
    with refused(channel, "answered with errno 4294967295"):
        Remote(channel).libc("close", 3)


# Maps


def guarded(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the midst of memory that must stay as it is."""
    memory = np.full((rows + 8, width), 0xEE, np.uint8)
    return memory, memory[4:-4]


def test_entries_come_as_the_caller_has_room_for_them(ends: Ends) -> None:
    """The sizes are asked of nobody: what a guest says of its map now is not what memory was made for."""
    channel, agent = ends
    asked: list[list[int]] = []

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        asked.append(sizes)
        return 0, 0, [attr(3), b"\1" * sizes[1], bytes(range(16)), bytes(range(32))]

    agent.answers(answer)
    all_keys, keys = guarded(4, 4)
    all_values, values = guarded(4, 8)
    token = np.zeros(8, np.uint8)
    assert Remote(channel).map_lookup_batch(5, token, False, keys, values) == (3, 0)
    assert asked == [[remote._BATCH.size, 8, 16, 32]]
    assert token.tolist() == [1] * 8
    assert keys[:3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert values[:3, 0].tolist() == [0, 8, 16]
    assert (keys[3:] == 0xEE).all()
    assert (values[3:] == 0xEE).all(), "no more than it says there are"
    assert (all_keys[:4] == 0xEE).all()
    assert (all_values[-4:] == 0xEE).all()


@pytest.mark.parametrize(("done", "code"), [(5, 0), (0xFFFFFFFF, errno.ENOENT), (0, 0)])
def test_more_entries_than_asked_for_or_none_and_no_end(ends: Ends, done: int, code: int) -> None:
    channel, agent = ends
    agent.answers(batch(done, code))
    (all_keys, keys), (all_values, values) = guarded(4, 4), guarded(4, 8)
    with refused(channel, f"gave {done} entries of a map where 4 were asked for"):
        Remote(channel).map_lookup_batch(5, np.zeros(8, np.uint8), True, keys, values)
    assert (all_keys == 0xEE).all()
    assert (all_values == 0xEE).all()


def test_what_was_not_written_is_not_counted(ends: Ends) -> None:
    channel, agent = ends
    agent.answers(batch(3, errno.ENOSPC))
    (_, keys), (_, values) = guarded(4, 4), guarded(4, 8)
    assert Remote(channel).map_lookup_batch(5, np.zeros(8, np.uint8), True, keys, values) == (0, errno.ENOSPC)
    assert (keys == 0xEE).all()


def info(channel: Channel, entries: int, memory: int = 512 * MIB, kind: str = "hash") -> MapInfo:
    fd = Remote(channel, memory).fd(5)
    return MapInfo(
        name="m", kind=kind, id=1, fd=fd, key_size=4, value_size=8, max_entries=entries, flags=0, cpus=1
    )


@pytest.mark.parametrize("done", [0, 2])
@pytest.mark.parametrize("code", [errno.EINTR, errno.ENOSPC])
def test_a_map_that_does_not_come_at_once_is_walked(ends: Ends, code: int, done: int) -> None:
    """An honest kernel's answers: to an empty slot of array_of_maps before Linux 6.14, to a bucket of large values."""
    channel, agent = ends
    batches: list[int] = []
    walk = [
        *((0, b"\0\0\0\0"), (0, b"value 0.")),
        *((0, b"\1\0\0\0"), (errno.ENOENT, bytes(8))),
        *((0, b"\2\0\0\0"), (0, b"value 2.")),
        (errno.ENOENT, bytes(4)),
    ]

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        if len(sizes) == 4:
            batches.append(sizes[2] // 4)
            return batch(done, code)(name, sizes)
        failed, data = walk.pop(0)
        return -1 if failed else 0, failed, [bytes(sizes[0]), data]

    agent.answers(answer)
    keys, values = maps.read_all(info(channel, 3, kind="array_of_maps"))
    assert keys.tolist() == [[0, 0, 0, 0], [2, 0, 0, 0]]
    assert [row.tobytes() for row in values] == [b"value 0.", b"value 2."]
    assert batches == [3]
    assert walk == []


def test_an_array_that_fills_the_guests_memory(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its indices are nowhere in it; and there is never room here for more entries than it has."""
    channel, agent = ends
    monkeypatch.setattr(maps, "_LARGEST_BUFFER", 1 << 12)
    entries, given, asked = 6000, 0, []

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        nonlocal given
        asked.append(sizes[2] // 4)
        count = min(asked[-1], entries - given, 1000)
        asked[-1] += given
        given += count
        return batch(count)(name, sizes)

    agent.answers(answer)
    keys, values = maps.read_all(info(channel, entries, memory=entries * 8, kind="array"))
    assert keys.shape == (entries, 4)
    assert values.shape == (entries, 8)
    assert max(asked) == entries


def test_a_map_that_does_not_end(ends: Ends) -> None:
    channel, agent = ends
    asked: list[int] = []

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        asked.append(sizes[2] // 4)
        return batch(asked[-1])(name, sizes)

    agent.answers(answer)
    with pytest.raises(
        MapError, match=r"'m' gave \d+ entries and has not ended, though max_entries = 8"
    ) as caught:
        maps.read_all(info(channel, 8))
    assert sum(asked) < 20000
    assert caught.value.hints


@pytest.mark.parametrize("walked", [False, True])
def test_a_map_larger_than_the_guest(ends: Ends, walked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says itself how many entries it may have."""
    channel, agent = ends
    monkeypatch.setattr(maps, "_LARGEST_BUFFER", 1 << 16)
    numbers = iter(range(1 << 30))

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        if len(sizes) == 4:
            return (
                (-1, errno.EINVAL, [bytes(size) for size in sizes])
                if walked
                else batch(sizes[2] // 4)(name, sizes)
            )
        return 0, 0, [bytes(sizes[0]), *(next(numbers).to_bytes(size, "little") for size in sizes[1:])]

    agent.answers(answer)
    with refused(
        channel, r"gives \d+ entries of a map, of 12 bytes each, and no end, and has 0 MiB of memory"
    ):
        maps.read_all(info(channel, 0xFFFFFFFF, 1 << 14 if walked else 1 << 18))
    assert next(numbers) < 5000


# Files


def test_a_file_that_gives_more_than_was_asked_for(ends: Ends) -> None:
    channel, agent = ends
    agent.answers(lambda name, sizes: (99999, 0, [bytes(size) for size in sizes]))
    with refused(channel, "read 99999 bytes of a file where 64 were asked for"):
        Remote(channel).read(3, 64)


@pytest.mark.parametrize(("name", "value"), [("_LARGEST_FILE", 100_000), ("_READ_SECONDS", 0.0)])
def test_a_file_that_does_not_end(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    channel, agent = ends
    monkeypatch.setattr(remote, name, value)
    agent.answers(lambda name, sizes: (sizes[0] if sizes else 3, 0, [bytes(size) for size in sizes]))
    with pytest.raises(OSError, match=r"the guest '6.12' gives no end of a file.*vm\.run") as caught:
        Remote(channel).read_file("/proc/kallsyms")
    assert caught.value.errno == errno.EFBIG


def system(channel: Channel) -> GuestSystem:
    return GuestSystem(Remote(channel), Kernel("6.12.0", Path("/nonexistent")))


@pytest.mark.parametrize("listing", [bytes(64), struct.pack("=QqHB", 1, 0, 0, 4) + b"a\0", b"\xff" * 64])
def test_a_folder_that_does_not_end(ends: Ends, listing: bytes) -> None:
    channel, agent = ends

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        return len(listing) if sizes else 3, 0, [listing.ljust(size, b"\0") for size in sizes]

    agent.answers(answer)
    found = system(channel)
    with pytest.MonkeyPatch.context() as change:
        change.setattr("bpfnb.vm.system._ENTRIES", 100)
        with pytest.raises(OSError, match=r"the guest \'6\.12\' lists no end of /tmp"):
            found.guest_path("/tmp").entries()


def test_more_cpus_than_there_can_be(ends: Ends) -> None:
    channel, agent = ends
    parts = iter([b"0-4294967295\n", b""])

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        part = next(parts) if name == "read" else b""
        return len(part) if name == "read" else 3, 0, [part.ljust(size, b"\0") for size in sizes]

    agent.answers(answer)
    with refused(channel, "has the CPUs 0-4294967295"):
        system(channel).possible_cpus()


def test_objects_that_come_again(ends: Ends) -> None:
    channel, agent = ends
    agent.answers(lambda name, sizes: (3, 0, [struct.pack("=III", 0, 9, 0) for _ in sizes]))
    listed = system(channel).objects("map")
    assert next(listed) == 3
    with refused(channel, "gave the map 9 as the next one after 9"):
        next(listed)


# Commands


def test_a_command_that_cannot_begin(ends: Ends) -> None:
    channel, agent = ends
    threading.Thread(target=lambda: agent.say(agent.hear()[0], b"", -errno.EAGAIN)).start()
    with pytest.raises(CommandError, match=r"the guest \'6\.12\' cannot begin true: Resource temp") as caught:
        Command(channel, "true")
    assert caught.value.errno == errno.EAGAIN
    assert isinstance(caught.value, BpfnbError), "the command line tells it, as all that bpfnb refuses"
    assert isinstance(caught.value, OSError)
    assert channel._streams == {}


def begun(channel: Channel, agent: Agent) -> tuple[Command, int]:
    """A command, and its stream's number."""
    answering = agent.answer(struct.pack("<I", 77))
    process = Command(channel, "true")
    answering.join()
    assert process.pid == 77
    return process, process._number | PUSHED


@pytest.mark.parametrize("end", [b"", b"abc", b"abcde"])
def test_an_end_of_a_command_that_is_none(ends: Ends, end: bytes) -> None:
    channel, agent = ends
    process, number = begun(channel, agent)
    agent.say(number, end, 3)
    with refused(channel, f"told of a command's end in {len(end)} bytes"):
        process.wait(60)


def test_a_wait_status_that_is_none(ends: Ends) -> None:
    channel, agent = ends
    process, number = begun(channel, agent)
    agent.say(number, struct.pack("<I", 0x137F), 3)  # it was stopped
    with refused(channel, f"told of a command's end by status {0x137F}"):
        process.wait(60)


def test_output_without_end(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, agent = ends
    monkeypatch.setattr(command, "_KEPT", 5000)
    process, number = begun(channel, agent)
    with channel._sending:  # as where a request waits until the guest reads: what comes is heard nevertheless
        for _ in range(6):
            agent.say(number, bytes(1000), 1)
        assert process._ended.wait(60)
    with pytest.raises(CommandError, match="true wrote 0 MiB more than was taken of it") as caught:
        process.wait(60)
    assert caught.value.errno == errno.EFBIG
    assert len(process._parts[1]) == 5000
    assert channel._streams == {}
    assert agent.hear()[1] == struct.pack("<II", process._number, signal.SIGKILL)


class Screen:
    """Has shown the first piece when all of *pieces* have come, and then raises *error*."""

    def __init__(self, ends: Ends, pieces: int, error: type[BaseException] | None = None) -> None:
        self.seen: list[str] = []
        self._channel, self._agent = ends
        self._error = error
        self.rest: list[tuple[bytes, int]] = []
        """What the agent says once the command was sent a signal, which is kept."""
        self.signals: list[int] = []
        self._thread = threading.Thread(target=self._run, args=(pieces,))
        self._thread.start()

    def _run(self, pieces: int) -> None:
        number, _ = self._agent.hear()
        self._agent.say(number, struct.pack("<I", 77))
        self._agent.say(number | PUSHED, b"x" * 1000, 1)
        asked, _ = self._agent.hear()  # while that is shown; the answer comes behind all others
        for _ in range(pieces - 1):
            self._agent.say(number | PUSHED, b"x" * 1000, 1)
        self._agent.say(asked)
        self.signals.append(struct.unpack("<II", self._agent.hear()[1])[1])
        for data, status in self.rest:
            self._agent.say(number | PUSHED, data, status)

    def write(self, text: str) -> None:
        self.seen.append(text)
        if len(self.seen) == 1:
            self._channel.request(wire.HELLO)
            if self._error is not None:
                raise self._error

    def flush(self) -> None:
        pass

    def join(self) -> None:
        self._thread.join()


def test_output_that_comes_faster_than_it_is_shown(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, _ = ends
    monkeypatch.setattr(command, "_KEPT", 5000)
    screen = Screen(ends, 6)
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(CommandError, match="true wrote 0 MiB more than was taken of it") as caught:
        command.shown(channel, "true")
    screen.join()
    assert caught.value.errno == errno.EFBIG
    assert screen.signals == [signal.SIGKILL]
    assert screen.seen == ["x" * 1000]
    assert channel._streams == {}


def test_an_interrupt_takes_with_it_what_waits_to_be_shown(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _ = ends
    screen = Screen(ends, 6, KeyboardInterrupt)
    screen.rest = [(b"it ends", 1), (struct.pack("<I", signal.SIGINT), 3)]
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(KeyboardInterrupt):
        command.shown(channel, "true")
    screen.join()
    assert screen.signals == [signal.SIGINT]
    assert screen.seen == ["x" * 1000, "it ends"]


def test_a_file_whose_name_no_file_can_have(ends: Ends) -> None:
    channel, agent = ends
    asked: list[str] = []

    def answer(name: str, sizes: list[int]) -> tuple[int, int, list[bytes]]:
        asked.append(name)
        return 3 if name == "open" else 0, 0, [bytes(size) for size in sizes]

    agent.answers(answer)
    guest = system(channel)
    try:
        mapping = Mapping(0x1000, 0x2000, 0, "00:01", 0, "/tmp/a\0b", deleted=False)
        with pytest.raises(FileNotFoundError):
            _Copies(guest).of(7, mapping)
        assert asked.count("read") == 3, "each of its places was tried"
    finally:
        guest.close()


# Time


def test_a_guest_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PATIENCE", 0.2)
    near, far = socket.socketpair()
    channel = Channel(near, lambda: GuestGone("it is gone"))
    channel.name = "6.12"
    with far:  # a part of the first request is sent
        for _ in range(2):
            with pytest.raises(
                GuestGone, match=r"the guest \'6\.12\' has taken nothing for 0 s: its kernel hangs"
            ):
                channel.request(wire.HELLO, bytes(8 * MIB))
        channel.close()


def test_a_guest_that_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the last request was sent: whoever stopped it for a minute may let it go on."""
    monkeypatch.setattr(wire, "PATIENCE", 0.2)
    near, far = socket.socketpair()
    channel, agent = Channel(near, lambda: GuestGone("it is gone")), Agent(far)
    with far:
        sent: list[bytes] = []

        def fill() -> None:
            while True:
                channel.tell(wire.INPUT, data := len(sent).to_bytes(1000, "little"))
                sent.append(data)

        with pytest.raises(GuestGone, match="the guest has taken nothing for 0 s: its kernel hangs"):
            fill()
        assert len(sent) > 10
        assert [agent.hear()[1] for _ in sent] == sent
        answering = agent.answer(b"awake")
        assert channel.request(wire.HELLO, patience=60.0) == (0, b"awake")
        answering.join()
        channel.close()
        agent.close()


# Buffers


def record(length: int, data: bytes = b"") -> bytes:
    return struct.pack("<II", length, 0) + data.ljust(length + 7 & ~7 if length < 1 << 10 else 8, b"\0")


GOOD = record(8, b"one rec.")


def ring(channel: Channel, agent: Agent) -> tuple[GuestRing, int]:
    answering = agent.answer()
    made = GuestRing(channel, 5, 4096)
    answering.join()
    return made, made._streams[0]._number | PUSHED


def drained(reader: GuestRing) -> Iterator[bytes]:
    """The records that come, until the guest is gone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for rows in reader.drain():
            yield from (row.tobytes() for row in rows.data)


@pytest.mark.parametrize("few", [0, 3, 50])
@pytest.mark.parametrize(
    "bad",
    [
        *(record(length) for length in (0x3FFFFFF1, 0x3FFFFFF8, 0x3FFFFFFF, 9999)),
        record(8 | 1 << 31),
        struct.pack("<II", 4, 0),
    ],
)
def test_chunks_that_are_no_records(ends: Ends, bad: bytes, few: int) -> None:
    channel, agent = ends
    reader, number = ring(channel, agent)
    agent.say(number, GOOD * few + bad)
    found: list[bytes] = []
    with refused(channel, "pushed what are no records of a buffer"):
        found += drained(reader)
    reader.close()


@pytest.mark.parametrize("chunk", [b"", bytes(13)])
def test_chunks_of_no_size(ends: Ends, chunk: bytes) -> None:
    channel, agent = ends
    reader, number = ring(channel, agent)
    agent.say(number, GOOD)
    agent.say(number, chunk)
    with refused(channel, f"pushed {len(chunk)} bytes of a buffer where (0|16) wait"):
        list(drained(reader))
    reader.close()


def test_more_than_the_window(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, agent = ends
    monkeypatch.setattr(readers, "WINDOW", 4096)
    reader, number = ring(channel, agent)
    for _ in range(4):
        agent.say(number, GOOD * 256)  # 4 KiB
    agent.say(number, GOOD)
    assert channel.ended.wait(60)
    with refused(channel, "pushed 16 bytes of a buffer where 16384 wait"):
        assert list(drained(reader)) == [b"one rec."] * 1024
    reader.close()


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("size", [0, 8, 12, 48, 0xFFF8])
def test_records_of_a_perf_buffer_that_are_none(size: int, count: int) -> None:
    good = struct.pack("<IHHI", 9, 0, 16, 4) + b"data"
    bad = struct.pack("<IHHI", 9, 0, size, 4) + b"bad!" + bytes(16)
    records, lost, used = parse(np.frombuffer(good * count + bad, np.uint8), 0)
    assert [row.tobytes() for rows in records for row in rows.data] == [b"data"] * count
    assert (lost, used) == (0, 16 * count)


def test_a_sample_that_says_that_it_is_larger_than_its_record() -> None:
    data = struct.pack("<IHHI", 9, 0, 16, 0xFFFFFFFF) + b"data" + struct.pack("<IHH", 2, 0, 8)
    records, lost, used = parse(np.frombuffer(data, np.uint8), 0)
    assert [row.tobytes() for rows in records for row in rows.data] == [b"data"]
    assert (lost, used) == (0, 16)
