"""Recordings: how large they are beside JSON lines and plain Parquet, and whether 200,000 events a second all get in."""

from __future__ import annotations

import io
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import bpfnb
from bench.report import line, note
from bench.sustained import RING, producer
from bpfnb.kernel import syscall
from bpfnb.recording.changes import GONE, present, spans
from bpfnb.recording.reader import Recording
from bpfnb.recording.tools import SNAPSHOT

SECONDS = 10.0

# What a configure script does: the same few programs, again and again, on the files of a tree.
_EXECS = """
for turn in 1 2 3 4 5 6 7 8 9 10 11 12; do for file in /usr/include/linux/[a-i]*.h; do
    grep -c define "$file"; sed -n 1p "$file"; basename "$file" .h; test -f "$file" || /bin/false; /bin/true --check "$file"
done; done >/dev/null 2>&1
"""
_BUSY = """
import hashlib, json, time
end = time.monotonic() + 20
while time.monotonic() < end:
    hashlib.sha256(json.dumps([{"n": n, "text": str(n) * 3} for n in range(300)]).encode()).hexdigest()
"""


def _execs() -> None:
    subprocess.run(["/bin/sh", "-c", _EXECS], check=True)


def _connections() -> None:
    """20 services, each asked by 10 clients over connections that stay, while 500 others come and go."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(20)]

    def answer(peer: socket.socket) -> None:
        with peer:
            while data := peer.recv(4096):
                peer.sendall(data * 4)

    def serve(server: socket.socket) -> None:
        for _ in range(10 + 25):
            peer, _ = server.accept()
            threading.Thread(target=answer, args=(peer,)).start()
        server.close()

    threads = [threading.Thread(target=serve, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    ports = [server.getsockname() for server in servers]
    staying = [socket.create_connection(port) for port in ports for _ in range(10)]
    for number in range(500):
        with socket.create_connection(ports[number % 20]) as passing:
            for client in (passing, staying[number % 200], staying[number * 7 % 200]):
                client.sendall(b"x" * (number % 10 * 100 + 1))
                client.recv(65536)
        time.sleep(0.04)
    for client in staying:
        client.close()
    for thread in threads:
        thread.join()


def _busy() -> None:
    children = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(2)]
    for child in children:
        child.wait()


def _plain_parquet(rows: pd.DataFrame, codec: str = "snappy") -> int:
    """Every column as text, without dictionaries; snappy is what pyarrow compresses with unless it is told."""
    table = pa.table({name: pa.array([str(value) for value in rows[name]], pa.string()) for name in rows})
    sink = io.BytesIO()
    pq.write_table(table, sink, use_dictionary=False, compression=codec)
    return len(sink.getvalue())


def _json_lines(rows: pd.DataFrame) -> int:
    return len(rows.to_json(orient="records", lines=True, date_format="iso", date_unit="ns").encode())


def _sizes(
    name: str, start: Callable[[], Any], load: Callable[[], None], folder: Path, include: list[str]
) -> None:
    """A tool's recording beside the rows in it, written down in other ways."""
    path = folder / f"{name}.bpfnb"
    with start() as tool, bpfnb.record(tool, path, include=include):
        load()
    tables = _tables(path)
    lines, plain = sum(map(_json_lines, tables.values())), sum(map(_plain_parquet, tables.values()))
    size = path.stat().st_size
    line(f"{name}: JSON lines", f"{size:,} bytes", f"{lines:,} bytes", lines / size, 10)
    line(f"{name}: Parquet of text, no dictionaries", f"{size:,} bytes", f"{plain:,} bytes", plain / size, 4)
    with Recording(path) as recording:
        whole = recording.completeness["complete"]
        inside = recording.tables().set_index("table")["bytes"]
    packed = sum(_plain_parquet(table, "zstd") for table in tables.values())
    rows = ", ".join(f"{len(table):,} of {what}" for what, table in tables.items())
    note(
        f"rows: {rows}; {'complete' if whole else 'NOT COMPLETE'}; {size - sum(inside):,} bytes are no tables; "
        f"the Parquet of text with zstd too: {packed:,} bytes, {packed / size:.2f} times"
    )


def _tables(path: Path) -> dict[str, pd.DataFrame]:
    """What the recording holds of the tool's frame, and of those beside it, as others would write them down.

    Of a tool that shows what there is now, that is what it showed at each look.
    """
    out = {}
    with Recording(path) as recording:
        (recorded,) = recording.objects.values()
        for what in (("frame",), *(("beside", name) for name in recorded.info.tool["beside"])):
            pieces = list(recorded.table(*what))
            if pieces:
                rows = _looks(pa.concat_tables(pieces, promote_options="permissive")).to_pandas()
                out[what[-1]] = rows.drop(columns=["arrived@"], errors="ignore")
    return out


def _looks(table: pa.Table) -> pa.Table:
    if GONE not in table.column_names:
        return table
    times = [table[name].drop_null().cast(pa.int64()).to_numpy() for name in (SNAPSHOT, GONE)]
    looks = np.unique(np.concatenate(times))
    bare, kind = table.drop_columns([SNAPSHOT, GONE]), table.schema.field(SNAPSHOT).type
    return pa.concat_tables(
        bare.take(pa.array(rows)).append_column(SNAPSHOT, pa.array(np.full(len(rows), when)).cast(kind))
        for when, rows in zip(looks, present(*spans(table, SNAPSHOT, looks), len(looks)), strict=True)
    )


def _sustained(folder: Path) -> None:
    path = folder / "sustained.bpfnb"
    with bpfnb.load(RING, name="bench_recorded", attach=False, watchdog=None) as obj:
        stream = obj.streams["events"]
        recorder = bpfnb.record(obj, path)
        child = producer(syscall.fd_by_id(syscall.OBJ_PROGRAM, obj.programs["fill"].info.id), SECONDS)
        begun, used = time.monotonic(), time.process_time()
        slowest = 0.0
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            before = time.perf_counter()
            time.sleep(0.01)
            slowest = max(slowest, time.perf_counter() - before - 0.01)
        share = (time.process_time() - used) / (time.monotonic() - begun)
        began = time.perf_counter()
        recorder.stop()
        stopping = time.perf_counter() - began
        lost = sum(recorder.lost.values()) + stream.total - recorder.rows
    line(
        "recording 200,000 events/s for 10 s",
        f"{lost} lost",
        f"{recorder.rows:,} recorded",
        float(lost),
        0,
        at_most=True,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    note(
        f"CPU share of the process {share:.0%}, another thread waited {slowest * 1e3:.0f} ms at most; "
        f"{recorder.nbytes:,} bytes; stopped in {stopping:.2f} s; peak memory {peak:,} MiB"
    )


def recording() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _sizes("execsnoop", lambda: bpfnb.tools.execsnoop(), _execs, folder, ["args"])
        _sizes("flows", lambda: bpfnb.tools.flows(), _connections, folder, [])
        _sizes("profile", lambda: bpfnb.tools.profile(frequency=999), _busy, folder, [])
        _sustained(folder)
