"""The event table in a real JupyterLab over a live probe: rows in order, exact far down, filtered, sorted, copied, kept."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from acting import box, dark, point, ran, run_cell, saved, shot, until
from playwright.sync_api import Locator, Page, expect

CELL = r"""%%bpf io
struct event { ktime_ns_t ts; u64 n; pid_t pid; ns_t latency; errno_t err; bytes_t size; u64 addr; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } counts SEC(".maps");
struct arguments { u32 count, mode; };
u64 seq = 0;
static long put(u32 i, void *unused)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e) return 0;
    u64 n = seq++;
    e->ts = bpf_ktime_get_ns();
    e->n = n;
    e->pid = 1000 + n % 7;
    e->latency = (n * 7919) % 1000003 * 1000;
    e->err = n % 100 == 0 ? -2 : 0;
    e->size = (n % 64) * 4096;
    e->addr = 0xffff888000000000ull + n;
    __builtin_memset(e->comm, 0, 16);
    e->comm[0] = 'a' + n % 5; e->comm[1] = 'x';
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("syscall") int produce(struct arguments *arguments)
{
    bpf_loop(arguments->count, put, 0, 0);
    return 0;
}
SEC("syscall") int count(struct arguments *arguments)
{
    u32 key = arguments->mode;
    u64 one = arguments->count;
    u64 *now = bpf_map_lookup_elem(&counts, &key);
    if (now) *now += one; else bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
    return 0;
}"""
SETUP = """%load_ext bpfnb
import struct, threading, time
def produce(rows):
    while rows > 0:
        io.loaded.test_run("produce", ctx=struct.pack("=II", min(rows, 50_000), 0))
        io.events.drain()
        rows -= 50_000
"""


class Grid:
    """What a person reads off the table."""

    def __init__(self, page: Page, place: Locator) -> None:
        self.page = page
        self.place = place
        self.scroller = place.locator(".et-scroll")
        self.status = place.locator(".b-foot")

    def rows(self) -> Locator:
        return self.place.locator(".et-row:visible")

    def texts(self, column: str, holds: Callable[[list[str]], object] = bool) -> list[str]:
        """The column's cells from top to bottom, once all rows in sight are there and the texts *hold*."""
        at = self.column(column)

        def read() -> list[str]:
            return self.place.evaluate(
                """(place, at) => {
                    const end = place.querySelector(".et-scroll").getBoundingClientRect().bottom;
                    const rows = [...place.querySelectorAll(".et-row:not([hidden])")]
                        .filter((row) => row.getBoundingClientRect().top < end);
                    return rows.some((row) => row.classList.contains("et-wait")) ? []
                        : rows.map((row) => row.querySelectorAll(".et-td")[at]?.textContent ?? "");
                }""",
                at,
            )

        return until(self.page, read, lambda texts: texts and holds(texts))

    def column(self, name: str) -> int:
        names = self.place.locator(".et-name > span:first-child")

        def read() -> list[str]:
            return [text.split("\n")[0] for text in names.all_inner_texts()]

        return until(self.page, read, lambda shown: name in shown).index(name)

    def head(self, name: str) -> Locator:
        return self.place.locator(".et-th").nth(self.column(name))

    def expect_rows(self, words: str) -> None:
        expect(self.status).to_contain_text(words)

    def scroll_to(self, share: float) -> None:
        self.scroller.evaluate(
            """(e, share) => {
                 e.scrollTop = (e.scrollHeight - e.clientHeight) * share;
                 return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
               }""",
            share,
        )  # the scroll event comes with the next frame

    def key(self, key: str) -> None:
        self.scroller.press(key)


def opened(notebook, page: Page, name: str, *cells: str) -> tuple[Locator, Grid]:
    """A notebook that ends in a table, and the table."""
    found = notebook(name, [SETUP, CELL, *cells, "1"])
    grid = Grid(page, found.nth(len(cells) + 1).locator(".bpfnb"))
    expect(grid.scroller).to_be_visible()
    return found, grid


def test_rows_arrive_in_order_and_any_of_a_million_is_exact(notebook, page):
    _cells, grid = opened(
        notebook,
        page,
        "million.ipynb",
        "io.events.limit(rows=2_000_000)\nproduce(1_200_000)",
        "view = io.events.table()\nview",
    )
    grid.expect_rows("1,200,000 rows")
    tail = grid.texts("n", lambda shown: shown[-1] == "1199999")
    assert tail == [str(n) for n in range(1_200_000 - len(tail), 1_200_000)]
    assert len(tail) >= 12
    assert grid.texts("addr")[-1] == f"{0xFFFF888000000000 + 1_199_999:#x}"
    expect(grid.place.get_by_role("button", name="Following")).to_have_attribute("aria-pressed", "true")
    shot(page, "table-follow")

    grid.scroll_to(0)
    top = grid.texts("n", lambda shown: shown[0] == "0")
    assert top == [str(n) for n in range(len(top))]
    expect(grid.place.get_by_role("button", name="Follow", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )
    expect(grid.scroller).to_have_attribute("aria-rowcount", "1200001")

    grid.scroll_to(0.5)
    middle = [int(text) for text in grid.texts("n", lambda shown: abs(int(shown[0]) - 600_000) < 100)]
    assert middle == list(range(middle[0], middle[0] + len(middle)))
    row = grid.rows().nth(3)
    n = int(row.locator(".et-td").nth(grid.column("n")).inner_text())
    exact = row.locator(".et-td").nth(grid.column("latency"))
    expect(exact).to_have_attribute("title", f"{(n * 7919) % 1000003 * 1000:,} ns")
    expect(row).to_have_attribute("aria-rowindex", str(n + 2))

    page.mouse.move(*point(grid.scroller))
    page.mouse.wheel(0, 240)
    # ten rows of 24 px, in whatever scale the bar is
    grid.texts("n", lambda shown: shown[0] == str(middle[0] + 10))

    grid.key("Home")
    grid.texts("n", lambda shown: shown[0] == "0")
    grid.key("End")
    grid.texts("n", lambda shown: shown[-1] == "1199999")
    expect(grid.place.get_by_role("button", name="Following")).to_be_visible()
    assert page.elsewhere == []


def test_filters_sort_picks_detail_and_copy(notebook, page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    cells, grid = opened(
        notebook,
        page,
        "work.ipynb",
        "produce(20_000)",
        "view = io.events.table()\nview",
    )
    grid.expect_rows("20,000 rows")
    # a range with a unit
    grid.head("latency").get_by_role("button", name="filter latency").click()
    dialog = grid.place.get_by_role("dialog", name="filter latency")
    dialog.get_by_role("textbox").fill("> 0.999 s")
    wanted = [n for n in range(20_000) if (n * 7919) % 1000003 * 1000 > 999_000_000]
    grid.expect_rows(f"{len(wanted)} of 20,000 rows")
    shot(page, "table-filter-range")
    dialog.get_by_role("textbox").fill("> 5 parsec")
    expect(dialog.get_by_role("alert")).to_contain_text("'parsec' is no unit of time")
    dialog.get_by_role("textbox").press("Escape")
    expect(dialog).to_have_count(0)
    grid.scroll_to(0)
    grid.texts("n", lambda shown: shown == [str(n) for n in wanted][: len(shown)])
    # a pick with counts, of what the other filter leaves
    grid.head("comm").get_by_role("button", name="filter comm").click()
    dialog = grid.place.get_by_role("dialog", name="filter comm")
    picks = dialog.locator(".et-pick")
    expect(picks).to_have_count(5)
    counts = {pick.locator("span").inner_text(): int(pick.locator("i").inner_text()) for pick in picks.all()}
    assert counts == {f"{letter}x": sum(n % 5 == i for n in wanted) for i, letter in enumerate("abcde")}
    shot(page, "table-filter-picks")
    dialog.get_by_label("bx").check()
    mine = [n for n in wanted if n % 5 == 1]
    grid.expect_rows(f"{len(mine)} of 20,000 rows")
    dialog.get_by_role("combobox").select_option("regex")
    dialog.get_by_role("textbox").fill("(b")
    expect(dialog.get_by_role("alert")).to_contain_text("no regular expression")
    dialog.get_by_role("button", name="Close").click()
    # chips say it and take it back
    expect(grid.place.locator(".et-chip")).to_have_text(["latency > 999ms✕", "comm is bx✕"])
    grid.place.get_by_role("button", name="remove the filter latency").click()
    grid.expect_rows("4,000 of 20,000 rows")
    # sort: descending with the second click, by two columns with shift
    grid.head("err").get_by_role("button", name="sort by err").click()
    expect(grid.head("err")).to_have_attribute("aria-sort", "ascending")
    grid.head("latency").get_by_role("button", name="sort by latency").click(modifiers=["Shift"])
    grid.head("latency").get_by_role("button", name="sort by latency").click(modifiers=["Shift"])
    expect(grid.head("latency")).to_have_attribute("aria-sort", "descending")
    best = sorted((n for n in range(20_000) if n % 5 == 1), key=lambda n: -((n * 7919) % 1000003))
    grid.texts("n", lambda shown: shown == [str(n) for n in best[: len(shown)]])
    # the detail: decoded beside raw
    grid.rows().nth(2).locator(".et-open").click()
    detail = grid.place.get_by_role("complementary", name="row detail")
    expect(detail).to_contain_text(f"{0xFFFF888000000000 + best[2]} = {0xFFFF888000000000 + best[2]:#x}")
    field = detail.get_by_role("row", name=re.compile("^err ")).get_by_role("cell")
    expect(field.nth(0)).to_have_text("0")
    shot(page, "table-detail")
    grid.key("Escape")
    expect(detail).to_be_hidden()
    # selected rows to the clipboard and to Python
    grid.rows().nth(0).locator(".et-td").nth(1).click()
    grid.rows().nth(3).locator(".et-td").nth(1).click(modifiers=["Shift"])
    grid.expect_rows("4 selected")
    shot(page, "table-selected")
    grid.key("Control+c")
    expect(grid.place.locator("[aria-live]")).to_have_text("4 rows copied as CSV")
    rows = list(csv.reader(page.evaluate("navigator.clipboard.readText()").splitlines()))
    assert rows[0] == ["ts", "n", "pid", "latency", "err", "size", "addr", "comm"]
    assert [row[1] for row in rows[1:]] == [str(n) for n in best[:4]]
    assert [row[6] for row in rows[1:]] == [str(0xFFFF888000000000 + n) for n in best[:4]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", rows[1][0])
    said = ran(page, cells, -1, "print(view.sort, view.filters, len(view.selected), view.selection)")
    assert "[('err', 'asc'), ('latency', 'desc')] {'comm': {'in': ['bx']}} 4" in said
    assert str(best[:4]) in said
    assert page.elsewhere == []


def test_everything_by_keyboard_columns_raw_and_nothing_to_see(notebook, page):
    cells, grid = opened(
        notebook,
        page,
        "keys.ipynb",
        "produce(5_000)",
        'view = io.events.table(["n", "latency", "err", "comm"])\nview',
    )
    grid.expect_rows("5,000 rows")
    grid.scroller.focus()
    grid.key("Home")
    grid.key("ArrowDown")
    grid.key(" ")
    grid.key("ArrowDown")
    grid.key(" ")
    grid.expect_rows("2 selected")
    marked = grid.place.locator('.et-row[aria-selected="true"]')
    expect(marked).to_have_count(2)
    expect(marked.nth(0)).to_have_attribute("aria-rowindex", "3")
    expect(marked.nth(1)).to_have_attribute("aria-rowindex", "4")
    grid.key("Shift+PageDown")
    grid.key("Enter")
    detail = grid.place.get_by_role("complementary", name="row detail")
    expect(detail).to_contain_text("timestamp")  # of a column that the table does not show
    grid.key("Escape")
    grid.key("Escape")
    expect(marked).to_have_count(0)
    expect(cells).to_have_count(5)
    # raw values
    grid.key("Home")
    grid.texts("err", lambda shown: shown[0] == "ENOENT")
    grid.place.get_by_role("button", name="Raw").click()
    expect(grid.rows().first.locator(".et-td").nth(grid.column("err"))).to_have_text("-2")
    shot(page, "table-raw")
    grid.place.get_by_role("button", name="Raw").click()
    # columns: another one, and another order
    grid.place.get_by_role("button", name="Columns (4 hidden)").click()
    menu = grid.place.get_by_role("dialog", name="columns")
    menu.get_by_label("pid").first.check()
    menu.get_by_role("button", name="pid further left").click()
    expect(grid.place.locator(".et-name > span:first-child")).to_have_text(
        ["n", "latency", "err", "pid", "comm"]
    )
    shot(page, "table-columns")
    page.keyboard.press("Escape")
    # resize by keyboard
    before = box(grid.head("n"))["width"]
    grid.head("n").get_by_role("button", name="sort by n").press("Alt+ArrowRight")
    until(page, grid.head("n").bounding_box, lambda now: now and now["width"] == before + 10)
    # set from Python; nothing passes; the way back
    ran(page, cells, -1, 'view.filters = {"comm": {"contains": "nobody"}}')
    expect(grid.place.locator(".et-empty")).to_contain_text("no rows pass the filters")
    shot(page, "table-empty")
    grid.place.get_by_role("button", name="Clear the filters").click()
    grid.expect_rows("5,000 rows")
    assert page.elsewhere == []


def test_a_live_stream_is_followed_paused_and_kept(notebook, page, lab):
    cells, grid = opened(
        notebook,
        page,
        "live.ipynb",
        """stop = threading.Event()
at_once = 100
def feed():
    while not stop.wait(0.05):
        produce(at_once)
io.events.limit(rows=100_000)
feeder = threading.Thread(target=feed, daemon=True)
feeder.start()""",
        "view = io.events.table()\nview",
    )
    seen: list[str] = []
    while len(seen) < 6:  # it moves
        texts = grid.texts("n", lambda shown: shown[-1] not in seen)
        assert [int(n) for n in texts] == list(range(int(texts[0]), int(texts[0]) + len(texts)))
        seen.append(texts[-1])
    # scrolling up ends following: the rows stand still while more arrive
    page.mouse.move(*point(grid.scroller))
    page.mouse.wheel(0, -600)
    expect(grid.place.get_by_role("button", name="Follow", exact=True)).to_be_visible()
    still = grid.texts("n")
    count = grid.status.inner_text()
    expect(grid.status).not_to_have_text(count)
    assert grid.texts("n") == still
    grid.place.get_by_role("button", name="Follow", exact=True).click()
    expect(grid.place.get_by_role("button", name="Following")).to_be_visible()
    # paused: the row set is frozen, what came since is counted, and the rows stay though the stream forgets them
    grid.place.get_by_role("button", name="Pause").click()
    grid.expect_rows("newer rows")
    kept = grid.texts("n")
    run_cell(page, cells, -1, "at_once = 5_000")
    expect(grid.status).to_contain_text(re.compile(r"paused, ([\d,]+,)?\d{3},\d{3} newer rows"))
    assert grid.texts("n") == kept
    grid.scroll_to(0)
    grid.texts("n", lambda shown: shown[0] not in ("", kept[0]))
    shot(page, "table-paused")
    grid.place.get_by_role("button", name="Resume").click()
    # sorted while it goes on
    grid.head("latency").get_by_role("button", name="sort by latency").click()
    grid.expect_rows("sorted as of")
    shot(page, "table-sorted-live")
    said = ran(
        page,
        cells,
        -1,
        "stop.set(); feeder.join(); view.sort = []; io.close(); print(view.df['n'].iloc[-1], view.state)",
    )
    static = cells.nth(3).locator(".jp-OutputArea-output table")
    expect(static).to_contain_text("rows between")
    shot(page, "table-static")
    last = int(said.split()[0])

    def complete(book):
        data = book.cells[3].outputs[0]["data"]
        return (
            f">{last}</td>" in data["text/html"]
            and f">{last - 99_999}</td>" in data["text/html"]
            and "application/vnd.jupyter.widget-view+json" not in data
        )

    saved(page, Path(lab[1]) / "live.ipynb", complete)
    page.reload()
    expect(page.locator(".jp-OutputArea-output table", has_text="rows between")).to_contain_text(str(last))
    assert page.elsewhere == []


def test_a_map_counts_in_place_in_the_dark(notebook, page):
    page.emulate_media(color_scheme="dark")
    cells, grid = opened(
        notebook,
        page,
        "map.ipynb",
        """def add(key, count):
    io.loaded.test_run("count", ctx=struct.pack("=II", count, key))
for key in range(20): add(key, 100 - key)""",
        'view = io.counts.table(sort=("value", "desc"))\nview',
    )
    grid.expect_rows("20 rows")
    grid.texts("key", lambda shown: shown[:3] == ["0", "1", "2"])
    ran(page, cells, -1, "add(7, 1000)")
    expect(grid.rows().first.locator(".et-td").nth(1)).to_have_text("1093")
    grid.texts("key", lambda shown: shown[:3] == ["7", "0", "1"])
    dark(page)
    shot(page, "table-dark-map")
    assert page.elsewhere == []


def test_an_offline_page_scrolls_sorts_and_filters(notebook, page, lab):
    _cells, grid = opened(
        notebook,
        page,
        "offline.ipynb",
        "produce(30_000)",
        'view = io.events.table()\nview.save("table.html")\nview',
    )
    grid.expect_rows("30,000 rows")
    path = Path(lab[1]) / "table.html"
    page.unroute("**/*")
    page.context.set_offline(True)
    page.goto(f"file://{path}")
    grid = Grid(page, page.locator(".bpfnb").first)
    grid.expect_rows("5,000 rows")
    grid.texts("n", lambda shown: shown[0] == "25000")
    grid.scroll_to(1)
    grid.texts("n", lambda shown: shown[-1] == "29999")
    grid.head("latency").get_by_role("button", name="sort by latency").click()
    expect(grid.head("latency")).to_have_attribute("aria-sort", "ascending")
    best = sorted(range(25_000, 30_000), key=lambda n: (n * 7919) % 1000003)
    grid.scroll_to(0)
    grid.texts("n", lambda shown: shown == [str(n) for n in best[: len(shown)]])
    grid.head("comm").get_by_role("button", name="filter comm").click()
    dialog = grid.place.get_by_role("dialog", name="filter comm")
    expect(dialog.locator(".et-pick i")).to_have_text(["1,000"] * 5)
    dialog.get_by_role("textbox").fill("CX")
    grid.expect_rows("1,000 of 5,000 rows")
    shot(page, "table-offline")
    page.keyboard.press("Escape")
    grid.rows().nth(0).locator(".et-open").click()
    detail = grid.place.get_by_role("complementary", name="row detail")
    expect(detail).to_contain_text(str(next(n for n in best if n % 5 == 2)))
