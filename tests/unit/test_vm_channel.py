"""The host's end of a guest's wire: an interrupt, a callback's mistake, silence, and what no agent would send."""

from __future__ import annotations

import signal
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fake_agent import Agent

from bpfnb.vm import channel as wire
from bpfnb.vm.channel import HELLO, RUN, Channel, GuestGone

PUSHED = 1 << 31


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Agent]]:
    near, far = socket.socketpair()
    channel, agent = Channel(near, lambda: GuestGone("it is gone")), Agent(far)
    yield channel, agent
    channel.close()
    agent.close()
    far.close()


def test_an_interrupt_waits_for_the_end_of_the_frame(ends: tuple[Channel, Agent]) -> None:
    channel, agent = ends
    data = bytes(range(256)) * (1 << 15)  # 8 MB: more than the socket takes at once
    heard: list[bytes] = []

    def interrupt() -> None:
        head = agent._file.read(12)  # some was sent, and the rest waits for a reader
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        heard.append(agent._file.read(struct.unpack("<III", head)[0] - 8))

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        channel.request(HELLO, data)
    thread.join()
    assert heard == [data]
    answering = agent.answer(b"next")
    assert channel.request(HELLO) == (0, b"next")
    answering.join()


def test_a_mistake_of_a_callback_does_not_end_the_connection(
    ends: tuple[Channel, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, agent = ends
    reported: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda report: reported.append(report.exc_value))
    heard: list[tuple[int, bytes]] = []

    def on_frame(status: int, frame: np.ndarray) -> bool:
        heard.append((status, frame.tobytes()))
        return bool(1 // status)

    answering = agent.answer()
    number, _, _ = channel.open(RUN, b"", on_frame)
    answering.join()
    agent.say(number | PUSHED, b"wrong")
    answering = agent.answer(b"alive")
    assert channel.request(HELLO) == (0, b"alive")
    answering.join()
    agent.say(number | PUSHED, b"right", 1)
    answering = agent.answer()
    channel.request(HELLO)
    answering.join()
    assert heard == [(0, b"wrong"), (1, b"right")]
    assert [type(error) for error in reported] == [ZeroDivisionError]


def test_of_a_guest_that_hangs_nothing_more_is_asked_until_it_answers(ends: tuple[Channel, Agent]) -> None:
    channel, agent = ends
    with pytest.raises(GuestGone, match="its kernel hangs"):
        channel.request(HELLO, b"first", patience=0.05)
    with pytest.raises(GuestGone, match="its kernel hangs"):
        channel.request(HELLO, b"second")  # at once: a minute is longer than a test may last
    woken = threading.Event()
    channel._streams[77] = lambda status, frame: woken.set() or True  # type: ignore[func-returns-value]
    number, first = agent.hear()
    assert first == b"first"
    agent.say(number)
    agent.say(77 | PUSHED)
    assert woken.wait(60)  # the answer before it was read
    answering = agent.answer(b"awake")
    assert channel.request(HELLO, b"third") == (0, b"awake")
    answering.join()


def test_only_a_guest_that_is_listed_is_stopped_by_its_name(ends: tuple[Channel, Agent]) -> None:
    """Its name is known before: what fails while it starts ends it, and there is nothing to stop."""
    channel, _ = ends
    channel.name = "old"
    assert channel.hints == ("start another: bpfnb.vm.start()",)
    channel.listed = True
    assert channel.hints == ("stop it and start another: bpfnb.vm.get('old').stop()",)


@pytest.mark.parametrize("size", [0, 7, wire._LARGEST_FRAME + 1, 0xFFFFFFFF])
def test_a_frame_of_no_agent_ends_the_connection(ends: tuple[Channel, Agent], size: int) -> None:
    channel, agent = ends
    agent.raw(struct.pack("<IIi", size, 1, 0))
    assert channel.ended.wait(60)
    with pytest.raises(GuestGone, match=f"a frame of {size} bytes"):
        channel.request(HELLO)
