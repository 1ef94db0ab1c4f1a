"""A comm that remembers what was sent instead of sending it, and a page at its other end."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import comm


class FakeComm(comm.base_comm.BaseComm):
    """What a widget talks through."""

    def __init__(self, **keywords: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[Any]]] = []
        self.arrived = threading.Condition()
        super().__init__(**{"comm_id": uuid.uuid4().hex, **keywords})

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
    ) -> None:
        self._reply_subshell_id = None  # as ipykernel 7.4 does: answers are for the shell that sends
        if msg_type == "comm_msg" and data.get("method") == "custom":
            with self.arrived:
                self.sent.append((data["content"], list(buffers or ())))
                self.arrived.notify_all()


class Page:
    """A browser's side of one view: says hello, acknowledges, and holds what arrived."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.comm: FakeComm = view.comm

    def say(self, kind: str, **content: Any) -> None:
        self.view._handle_custom_msg({"kind": kind, "client": "page", **content}, [])

    def messages(self, kind: str = "frame") -> list[dict[str, Any]]:
        return [content for content, _ in list(self.comm.sent) if content["kind"] == kind]

    def wait(self, count: int, kind: str = "frame", timeout: float = 60.0) -> dict[str, Any]:
        """The *count*-th message of *kind*, awaited."""
        with self.comm.arrived:
            assert self.comm.arrived.wait_for(lambda: len(self.messages(kind)) >= count, timeout), (
                f"{len(self.messages(kind))} messages of kind {kind}, not {count}; errors: {list(self.view.errors)}"
            )
        return self.messages(kind)[count - 1]

    def ack(self) -> None:
        frames = self.messages()
        if frames:
            self.say("ack", seq=frames[-1]["seq"])

    def sizes(self) -> list[tuple[int, int]]:
        """For each message: bytes of JSON, bytes of buffers."""
        return [
            (len(json.dumps(content)), sum(memoryview(b).nbytes for b in buffers))
            for content, buffers in list(self.comm.sent)
        ]
