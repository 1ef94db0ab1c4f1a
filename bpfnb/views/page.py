"""Views in one HTML file that opens without a network: their scripts, what they show, a stand-in for the notebook."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bpfnb.errors import MissingDependency
from bpfnb.views._style import esc
from bpfnb.views.view import STATIC, dumps
from bpfnb.views.wire import pack

if TYPE_CHECKING:
    from bpfnb.views.view import View

__all__ = ["document", "page", "slot"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' blob:; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{margin:16px;background:light-dark(#fff,#0d1117)}}</style></head>
<body>{body}
<script type="application/json" id="data">{data}</script>
<script type="application/json" id="code">{code}</script>
<script type="module">
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const standIn = (traits, frames) => {{
  const hears = new Map();
  const on = (event, call) => hears.set(event, [...(hears.get(event) ?? []), call]);
  const off = (event, call) => hears.set(event, (hears.get(event) ?? []).filter((c) => call && c !== call));
  const tell = (event, ...what) => (hears.get(event) ?? []).forEach((call) => call(...what));
  return {{
    get: (name) => traits[name],
    set: (name, value) => {{ traits[name] = value; tell(`change:${{name}}`); }},
    save_changes: () => {{}},
    on, off,
    send: (content) => {{
      if (content.kind !== "hello") return;
      for (const {{ header, buffers }} of frames) {{
        tell("msg:custom", header, buffers.map((b) => new DataView(bytes(b))));
      }}
    }},
  }};
}};
const widgets = {{}};
for (const [family, code] of Object.entries(read("code"))) {{
  const address = URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}));
  const module = await import(address);
  widgets[family] = typeof module.default === "function" ? await module.default() : module.default;
}}
for (const [id, {{ family, traits, frames }}] of Object.entries(read("data"))) {{
  const model = standIn(traits, frames);
  await widgets[family].initialize?.({{ model }});
  await widgets[family].render({{ model, el: document.getElementById(id) }});
}}
</script></body></html>
"""


def page(view: View) -> str:
    """*view* as it is now. What needs no Python works: pointing, zooming, searching in what the file holds."""
    return document(view.title or view.family, slot("view", view), {"view": view})


def slot(name: str, view: View) -> str:
    """Where *view* stands in a body; without scripts its static picture does."""
    return f'<div id="{esc(name)}"></div><noscript>{view.html()}</noscript>'


def document(title: str, body: str, views: Mapping[str, View]) -> str:
    """A page of *body*, HTML with a :func:`slot` for each of *views*, which are as they are now."""
    code = {}
    for view in views.values():
        bundle = STATIC / f"{view.family}.js"
        if not bundle.exists():
            raise MissingDependency(
                f"the script of the {view.family} was not built", hints=["run: ./run setup"]
            )
        code[view.family] = bundle.read_text(encoding="utf-8")
    data = {name: _embedded(view) for name, view in views.items()}
    return _PAGE.format(title=esc(title), body=body, data=dumps(data), code=dumps(code))


def _embedded(view: View) -> dict[str, Any]:
    with view.lock:
        frames = []
        for number, payload in enumerate(view._offline_payloads(), 1):
            payload.meta["source"] = {**view._about_source(), "live": False}
            packed = pack(payload)
            header = {"kind": "frame", "seq": number, "full": True, **packed.header}
            frames.append(
                {"header": header, "buffers": [base64.b64encode(b).decode() for b in packed.buffers]}
            )
        synced = {name: view.trait_values().get(name) for name in view.keys if not name.startswith("_")}
        synced.pop("layout", None)
        traits = {**synced, "_key": view._key, "_offline": True, "error": "", "state": "done"}
        return {"family": view.family, "traits": traits, "frames": frames}
