"""What cells show when nobody looks: objects, frames and views in a notebook that runs without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from counting_cell import PROGRAM, WANTED
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook
from pictures import drawings

from bpfnb.demo import execute, to_html
from bpfnb.doctor import permitted

pytestmark = pytest.mark.kernel
WIDGET = "application/vnd.jupyter.widget-view+json"

CELL = f"%%bpf io {WANTED}{PROGRAM}"
AGAIN = """from ipywidgets.widgets.widget import _instances
from IPython.display import display
counts = []
for number in range(50):
    get_ipython().run_cell_magic("bpf", "again", SOURCE)
    display(bpfnb.objects["again"])
    counts.append(len(_instances))
again.close()
print(max(counts[:5]), max(counts), len(_instances))"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Any:
    refused = permitted()
    if refused is not None:
        pytest.skip(refused.message)
    texts = [
        "%load_ext bpfnb\nimport os, threading, bpfnb",
        CELL,
        "for _ in range(1000): os.getppid()",
        "io",
        "io.events",
        "io.small",
        "io.slots",
        "print([type(view).__name__ for view in io.views()], repr(io.events), repr(io.small))",
        "io.stop()",
        f"SOURCE = {PROGRAM!r}",
        AGAIN,
        CELL.replace("%%bpf io", "%%bpf io "),
        CELL,
        "io.close()",
        "import pandas as pd\nfrom bpfnb.views import hist\nhist(pd.DataFrame({'x': [3.0] * 70 + [5.0] * 30}), 'x')",
    ]
    path = tmp_path_factory.mktemp("displays") / "displays.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(text) for text in texts]), path)
    return execute(Path(path))


def shown(cells: Any, index: int) -> list[Any]:
    return [output.data for output in cells.cells[index].outputs if output.output_type == "display_data"]


def test_the_cell_shows_the_panel_and_its_annotated_views_as_pictures_in_the_end(cells):
    for index in (1, 3):
        panel, events, slots = shown(cells, index)
        assert not any(WIDGET in data for data in (panel, events, slots))
        assert "stopped" in panel["text/html"]
        assert panel["text/plain"].startswith("io: stopped")
        assert ">1,000<" in panel["text/html"]
        for picture in (events, slots):
            (drawing,) = drawings(picture["text/html"])
            assert "1,000 values" in drawing


def test_frames_show_a_table_or_their_annotated_view(cells):
    [events], [small], [slots] = shown(cells, 4), shown(cells, 5), shown(cells, 6)
    assert "<table" in events["text/html"]
    assert "1,000 rows" in events["text/html"]
    rows = small["text/html"].partition("<tbody")[2]
    values = [int(value) for value in re.findall(r">(\d000|0)</td></tr>", rows)]
    assert values == [4000, 3000, 2000, 1000, 0], "the largest on top"
    assert "1,000 values" in slots["text/html"]
    text = cells.cells[7].outputs[0].text
    assert text.startswith("['HistogramView', 'HistogramView'] <Stream events: 1,000 rows")
    assert "<MapFrame small: hash, max_entries 64>" in text


def test_running_a_cell_again_leaves_a_picture_that_says_so_and_no_widgets(cells):
    first, most, left = map(int, cells.cells[10].outputs[-1].text.split())
    assert most <= first, "fifty objects take no more widgets than five"
    assert left < first
    pictures = shown(cells, 10)
    assert len(pictures) == 50 * 3
    assert not any(WIDGET in data for data in pictures)
    assert "replaced by the next object of this name" in shown(cells, 11)[0]["text/html"]
    assert "replaced" not in shown(cells, 12)[0]["text/html"]


def test_the_page_of_the_notebook_loads_nothing(cells):
    page = to_html(cells)
    assert "model not found" not in page
    assert "1,000 values" in page


def test_what_is_not_live_is_a_picture_where_nobody_looks(cells):
    [picture] = shown(cells, 14)
    assert set(picture) == {"text/plain", "text/html"}
    assert "100 values" in picture["text/html"]


@pytest.mark.parametrize(("stdin", "drawn"), [(True, True), (False, False)])
def test_a_page_that_can_ask_its_reader_gets_the_widget(stdin, drawn):
    manager, client = start_new_kernel()
    try:
        reply = client.execute_interactive(
            "import pandas as pd\nfrom bpfnb.views import hist\nhist(pd.DataFrame({'x': [3.0] * 100}), 'x')",
            allow_stdin=stdin,
            stdin_hook=lambda _: None,
            timeout=60,
            output_hook=(outputs := []).append,
        )
        assert reply["content"]["status"] == "ok"
        [data] = [m["content"]["data"] for m in outputs if m["msg_type"] == "display_data"]
        assert (WIDGET in data) == drawn
        assert "100 values" in data["text/html"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
