"""Of a live or of a replayed object, all that there is to compare."""

from __future__ import annotations

from typing import Any

STREAMS = ("events", "mixed", "texts", "tiny", "perf")
MAPS = ("structs", "slots", "counts", "each", "recent", "emptied", "full", "queue", "stacks", "outer")


def looked(io: Any) -> dict[Any, Any]:
    """By what was looked at: values, frames each with its attributes."""
    out: dict[Any, Any] = {}
    for name in STREAMS:
        stream = io.streams[name]
        for key, frame in (
            ("df", stream.df),
            ("raw", stream.frame(raw=True)),
            ("part", stream.slice(7, 40, raw=True)),
            ("taken", stream.take([9, 3, 200])),
            ("arrow", stream.arrow().to_pandas()),
        ):
            out[name, key] = frame, frame.attrs
        for kind, typed in stream.by_type.items():
            out[name, kind] = typed.df, typed.df.attrs
    for name in MAPS:
        frame = io.maps[name]
        out[name, "df"] = frame.df, frame.df.attrs
        out[name, "raw"] = frame.frame(raw=True), frame.df.attrs
        out[name, "items"] = frame.items() if name != "queue" else frame.values()
        out[name, "fill"] = frame.fill, frame.lost, frame.counted, frame.view, len(frame)
    for name in ("counts", "each"):
        out[name, "percpu"] = io.maps[name].percpu.df, io.maps[name].percpu.df.attrs
    out["one"] = (
        io.structs[3],
        io.counts[2],
        io.counts.percpu[2],
        99 in io.structs,
        io.slots[4],
        io.recent.get(12345678),
    )
    out["vars"] = {name: io.vars[name] for name in io.vars}
    out["programs"] = [(p.name, p.section, p.kind, p.attaches) for p in io.programs.values()]
    out["of"] = io.source.text, io.elf.key, io.elf.compiler, [str(w) for w in io.warnings]
    out["flames"] = io.events.flamegraph("stack").folded()
    return out
