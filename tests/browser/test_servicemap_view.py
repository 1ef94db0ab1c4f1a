"""The service map in a real JupyterLab over real connections: drawn, steady, pointed at, pinned, kept; and offline."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path

import pytest
from acting import answer, box, drag, point, ran, saved, shot, until
from pictures import drawings
from playwright.sync_api import Locator, expect

CELL = """%%bpf io
struct event { ktime_ns_t ts; char comm[16]; ipv4_t daddr; port_be_t dport; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, const struct sock *sk, int before, int after)
{
    char comm[16];
    struct event *e;

    if (after != TCP_SYN_SENT)
        return 0;
    bpf_get_current_comm(comm, sizeof(comm));
    if (comm[0] != 'b' || comm[1] != 'm' || comm[2] != '-')
        return 0;
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    __builtin_memcpy(e->comm, comm, 16);
    e->daddr = sk->__sk_common.skc_daddr;
    e->dport = sk->__sk_common.skc_dport;
    bpf_ringbuf_submit(e, 0);
    return 0;
}"""

SETUP = """%load_ext bpfnb
import collections, socket, threading
made, going = collections.Counter(), threading.Event()
servers = {}
for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
    servers[host] = socket.create_server((host, 0), backlog=512)
def client(name, hosts, times=None, pause=0.05):
    with open("/proc/thread-self/comm", "w") as file:
        file.write(name)
    while times is None or times > 0:
        for host in hosts:
            address = servers[host].getsockname()
            with socket.create_connection(address):
                servers[host].accept()[0].close()
            made[name, "%s:%d" % address] += 1
        times = None if times is None else times - 1
        if going.wait(pause):
            break
threads = []
def drive(*what, **how):
    threads.append(threading.Thread(target=client, args=what, kwargs=how, daemon=True))
    threads[-1].start()
def rest():
    going.set()
    for thread in threads:
        thread.join()
    io.events.drain()"""

NODES = """(map) => Object.fromEntries([...map.querySelectorAll(".b-node")].map(
    (node) => [node.dataset.name, [Number(node.dataset.x), Number(node.dataset.y)]]))"""


def sentences(place: Locator) -> dict[tuple[str, str], int]:
    """The counts that the edges' labels say, as a screen reader would."""
    labels = place.locator(".b-edge").evaluate_all(
        "(edges) => edges.map((e) => e.getAttribute('aria-label'))"
    )
    found = {}
    for label in labels:
        pair, count = re.match(r"(\S+ to \S+), .*?([\d,]+) events?(?:,|$)", label).groups()
        found[tuple(pair.split(" to "))] = int(count.replace(",", ""))
    return found


def test_real_connections_are_drawn_followed_pointed_at_and_kept(notebook, page, lab):
    cells = notebook(
        "services.ipynb",
        [
            SETUP,
            CELL,
            "view = io.events.servicemap(title='loopback')\nview",
            "drive('bm-web', ['127.0.0.1', '127.0.0.2'])\ndrive('bm-api', ['127.0.0.2', '127.0.0.3'])",
            "1",
        ],
    )
    place = cells.nth(2).locator(".bpfnb").first
    chart = place.locator(".b-map")
    expect(chart.locator(".b-node")).to_have_count(5)
    expect(chart.locator(".b-edge")).to_have_count(4)
    places = chart.evaluate(NODES)
    # It goes on: more and more connections, and nobody moves.
    said = place.locator(".b-foot")
    for _ in range(5):
        before = sum(sentences(place).values())
        until(page, lambda: sum(sentences(place).values()), lambda now, before=before: now > before)
    assert chart.evaluate(NODES) == places
    shot(page, "servicemap-live")

    # A newcomer moves nobody far.
    ran(page, cells, -1, "drive('bm-cron', ['127.0.0.3'])")
    expect(chart.locator('[data-name="bm-cron"]')).to_have_count(1)
    after = chart.evaluate(NODES)
    assert all(abs(after[n][i] - places[n][i]) < 96 for n in places for i in (0, 1))

    # The drawn counts are exactly the connections that were made.
    made = literal_eval(ran(page, cells, -1, "rest()\nprint(dict(made))"))
    place.scroll_into_view_if_needed()
    until(page, lambda: sentences(place), lambda found: found == made)

    # Filter: matches and their neighbours stay.
    place.get_by_label("filter nodes by name").fill("cron")
    expect(chart.locator('[data-name="bm-web"]')).to_have_attribute("opacity", "0.12")
    expect(chart.locator('[data-name="bm-cron"]')).not_to_have_attribute("opacity", "0.12")
    expect(said).to_contain_text("1 of 6 nodes match")
    place.get_by_label("filter nodes by name").fill("")
    expect(chart.locator('[data-name="bm-web"]')).not_to_have_attribute("opacity", "0.12")

    # A click on an edge: its rows in Python.
    source, target = next(pair for pair in made if pair[0] == "bm-api")
    edge = chart.locator(f'[aria-label^="{source} to {target},"]')
    box(chart)  # in sight and still
    middle = edge.locator("path").first.evaluate(
        """(path) => { const p = path.getPointAtLength(path.getTotalLength() * 0.5);
             const box = path.ownerSVGElement.getBoundingClientRect(); return [box.x + p.x, box.y + p.y]; }"""
    )
    page.mouse.click(*middle)
    expect(edge).to_have_attribute("aria-pressed", "true")
    picked = ran(page, cells, -1, "print(view.selection, len(view.selected), set(view.selected.comm))")
    host, port = target.split(":")
    selection = {"comm": {"in": [source]}, "daddr": {"in": [host]}, "dport": {"in": [int(port)]}}
    assert picked == f"{selection} {made[source, target]} {{'{source}'}}"
    page.mouse.move(5, 5)

    # By keyboard: along an edge to a server, and Enter selects it.
    chart.locator('[data-name="bm-cron"]').focus()
    page.keyboard.press("ArrowRight")
    server = next(target for source, target in made if source == "bm-cron")
    expect(chart.locator(f'[data-name="{server}"]')).to_be_focused()
    page.keyboard.press("Enter")
    expect(chart.locator(f'[data-name="{server}"]')).to_have_attribute("aria-pressed", "true")
    total = sum(count for (_, target), count in made.items() if target == server)
    assert answer(page, cells, "len(view.selected)") == str(total)

    # Dragging pins.
    web = chart.locator('[data-name="bm-web"]')
    x, y = point(web)
    before = chart.evaluate(NODES)
    drag(page, (x, y), (x + 30, y + 40))
    pinned = until(page, lambda: literal_eval(answer(page, cells, "view._layout.pinned")))
    assert set(pinned) == {"bm-web"}
    assert pinned["bm-web"][1] - before["bm-web"][1] > 20
    now = until(
        page,
        lambda: chart.evaluate(NODES),
        lambda found: found["bm-web"] == pytest.approx(pinned["bm-web"], abs=0.1),
    )
    assert {n: now[n] for n in now if n != "bm-web"} == {n: before[n] for n in before if n != "bm-web"}

    # Zoom moves what is seen, not the places.
    def apart() -> float:
        return abs(box(web)["x"] - box(chart.locator(f'[data-name="{server}"]'))["x"])

    wide = apart()
    place.get_by_label("zoom in").click()
    expect(web).to_have_attribute("transform", re.compile("scale"))
    until(page, apart, lambda found: found > 1.2 * wide)
    assert chart.evaluate(NODES) == now
    place.get_by_label("show the whole map").click()

    # The table beside it, and the choice of columns.
    place.locator(".b-list summary").click()
    expect(place.locator(".b-list tbody tr")).to_have_count(len(made))
    place.get_by_label("Width of edges").select_option("count")
    expect(place.locator(".b-legend")).to_contain_text("width: events")
    until(page, lambda: answer(page, cells, "view.width"), lambda told: told == "count")
    shot(page, "servicemap-used")

    # Frozen: a picture with the same edges, which stays in the saved notebook.
    place.get_by_role("button", name="Freeze").click()
    picture = cells.nth(2).locator(".jp-OutputArea section > img")
    expect(picture).to_be_visible(timeout=15_000)

    def kept(book):
        data = book.cells[2].outputs[0]["data"]
        frozen = "application/vnd.jupyter.widget-view+json" not in data
        return frozen and "Service map loopback: 6 nodes" in str(drawings(data["text/html"]))

    output = saved(page, Path(lab[1]) / "services.ipynb", kept).cells[2].outputs[0]["data"]
    (drawing,) = drawings(output["text/html"])
    for (source, target), count in made.items():
        assert re.search(rf"{source} to {target}, [^<]*?{count:,} events?[,<]", drawing)
        assert source in output["text/plain"]
    assert "width: events" in drawing
    assert page.elsewhere == []


def test_an_offline_page_shows_points_filters_and_zooms_in_the_dark(browser, tmp_path):
    import pandas as pd

    from bpfnb.views.services import servicemap

    frame = pd.DataFrame(
        {
            "source": ["nginx", "nginx", "api", "worker", "api"],
            "target": ["api", "worker", "10.0.0.2:5432", "10.0.0.2:5432", "redis-server"],
            "rate": [120.0, 30.0, 55.0, 4.0, 900.0],
            "errors": [0.0, 0.5, 0.02, 0.0, 0.0],
            "latency_ms": [1.0, 2.5, 40.0, 3.0, 0.1],
        }
    )
    path = servicemap(frame, title="prod").save(tmp_path / "map.html")
    context = browser.new_context(color_scheme="dark", offline=True, viewport={"width": 1100, "height": 700})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    chart = page.locator(".b-map")
    expect(chart.locator(".b-node")).to_have_count(5)
    expect(
        chart.locator('[aria-label="api to 10.0.0.2:5432, 55/s, 2 % errors, latency p50 40 ms"]')
    ).to_have_count(1)
    chart.locator('[data-name="worker"]').hover()
    tip = page.locator(".b-tip")
    expect(tip).to_contain_text("called by 1 node")
    expect(tip).to_contain_text("in: rate30/s")
    expect(chart.locator('[data-name="redis-server"]')).to_have_attribute("opacity", "0.12")
    page.mouse.move(1, 1)
    page.get_by_label("filter nodes by name").fill("redis")
    expect(page.locator(".b-foot")).to_contain_text("1 of 5 nodes match")
    page.get_by_label("filter nodes by name").fill("")
    page.get_by_label("Colour of edges").select_option("latency")
    expect(page.locator(".b-legend")).to_contain_text("colour: latency p50")
    nginx = chart.locator('[data-name="nginx"]')
    before = box(nginx)["x"]
    page.mouse.move(*point(chart))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    until(page, lambda: box(nginx)["x"], lambda now: now < before - 20)
    shot(page, "servicemap-offline-dark")
    assert errors == []
    context.close()
