"""mkdocs' hooks: the pages that are made of the README, of the tools and of the notebooks."""

from __future__ import annotations

import copy
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from docstrings import markdown_of
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

from bpfnb import tools
from bpfnb.demo import PLOTLY, execute
from bpfnb.doctor import permitted
from bpfnb.lab import labs

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
INVESTIGATION = NOTEBOOKS / "investigations/slow-service.ipynb"
QUICKSTART = NOTEBOOKS / "quickstart.ipynb"
PLOTLY_FILE = "assets/plotly.min.js"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
LANGUAGES = {"%%bpf": "c", "%%bpftrace": "text"}
_LINK = re.compile(r"(\]\()([^)#\s]+)([)#])")


def shown() -> list[Path]:
    """The notebooks of the site in the order of its navigation, without the labs."""
    first = [QUICKSTART, NOTEBOOKS / "views.ipynb", INVESTIGATION]
    return [
        *first,
        *sorted(NOTEBOOKS.glob("tools/*.ipynb")),
        NOTEBOOKS / "bcc.ipynb",
        NOTEBOOKS / "report.ipynb",
    ]


def lab_notebooks() -> list[Path]:
    """The students' notebooks: solutions are not on the site."""
    return sorted((NOTEBOOKS / "labs").glob("*.ipynb"))


def page_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix(".md").as_posix()


# What mkdocs calls


def on_config(config: Any) -> Any:
    made = {
        "Notebooks": [page_of(path) for path in shown()],
        "Labs": ["notebooks/labs/index.md", *map(page_of, lab_notebooks())],
    }
    for entry in config.nav:
        for title, content in entry.items():
            entry[title] = made[title] if content == [] else content
    return config


def on_files(files: Files, config: Any) -> Files:
    with ThreadPoolExecutor() as pool:
        list(pool.map(read, shown()))

    def add(name: str, content: str) -> None:
        files.append(File.generated(config, name, content=content))

    add("index.md", moved((ROOT / "README.md").read_text(), Path("README.md")))
    add("tools.md", all_tools())
    add("notebooks/labs/index.md", course())
    for path in [*shown(), *lab_notebooks()]:
        add(page_of(path), as_markdown(path))
    if any(PLOTLY in output.get("data", {}) for path in shown() for output in outputs(path)):
        from plotly.offline import get_plotlyjs

        add(PLOTLY_FILE, get_plotlyjs())
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.generated_by is None:
        return moved(markdown, Path("docs", page.file.src_uri))
    return markdown


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Puts the outputs of a notebook in their places; Markdown would take them for its own."""
    path = (ROOT / page.file.src_uri).with_suffix(".ipynb")
    if not path.is_file():
        return html
    there = list(outputs(path))
    figures = [number for number, output in enumerate(there) if PLOTLY in output.get("data", {})]
    script = get_relative_url(PLOTLY_FILE, page.url)

    def put(match: re.Match[str]) -> str:
        number = int(match[1])
        drawn = as_html(there[number], script if number in figures[:1] else None)
        return f'<div class="output" data-search-exclude>{drawn}</div>'

    return re.sub(r'<div class="output" data-number="(\d+)"></div>', put, html)


# Pages


def moved(markdown: str, source: Path) -> str:
    """A text's links, which lead to files of the repository, as links between pages; others become plain text."""
    pages = {path.relative_to(ROOT).as_posix(): page_of(path) for path in [*shown(), *lab_notebooks()]}
    pages |= {"notebooks/labs": "notebooks/labs/index.md", "README.md": "index.md"}
    here = "index.md" if source.name == "README.md" else source.relative_to("docs").as_posix()

    def link(match: re.Match[str]) -> str:
        if "://" in match[2]:
            return match[0]
        target = os.path.normpath(source.parent / match[2])
        page = pages.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        return f"{match[1]}{os.path.relpath(page, Path(here).parent)}{match[3]}" if page else match[0]

    markdown = _LINK.sub(link, markdown)
    # Folders and files that have no page stay in the repository.
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)*notebooks/labs/solutions\)", r"\1", markdown)


def all_tools() -> str:
    """Every tool by what it is about: what it shows, what it may be given, its columns."""
    families = defaultdict(list)
    for name in tools.names():
        tool = tools.find(name)
        families[tool.family].append(tool)
    text = [
        "# Tools\n",
        "`%bpf tool NAME` in a notebook, `bpfnb.tools.NAME()` in Python, `bpfnb tool NAME` in a terminal. All take the",
        "filters and common options of [the class Tool](api/tools.md).\n",
        "| about | tools |\n|---|---|",
    ]
    text += [
        f"| {family} | {', '.join(f'[{tool.name}](#{tool.name})' for tool in found)} |"
        for family, found in families.items()
    ]
    for family, found in families.items():
        anchor = re.sub(r"\W+", "-", family)
        text.append(f"\n## {family[:1].upper()}{family[1:]} {{: #about-{anchor} }}\n")
        text += [line for tool in found for line in one_tool(tool)]
    return "\n".join(text)


def one_tool(tool: type[tools.tool.Tool]) -> Iterator[str]:
    yield f"\n### {tool.name}\n\n{plain(tool.summary)}\n\n{plain(tool.more)}\n"
    if tool.options:
        yield "| option | |\n|---|---|"
        for option in tool.options:
            name = f"--{option.name.replace('_', '-')}"
            word = option.metavar if option.positional else name
            given = "" if option.type is bool or option.positional else f" {option.metavar}"
            yield f"| `{word}{given}` | {cell(option.help)} |"
        yield ""
    if tool.columns:
        yield f"Columns: {', '.join(f'`{column}`' for column in tool.columns)}.\n"


def plain(text: str) -> str:
    """A docstring's reStructuredText as Markdown."""
    return str(markdown_of(text)).replace("%%", "%")


def cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


def course() -> str:
    text = (ROOT / "docs/labs.txt").read_text()
    rows = [
        f"| [{lab.title}]({path.with_suffix('.md').name}) | {len(lab.tasks)} | {lab.minutes} min "
        f"| {lab.in_guest} |"
        for lab, path in zip(labs(), lab_notebooks(), strict=True)
    ]
    return text.replace(
        "TABLE", "\n".join(["| lab | tasks | time | in a disposable kernel |", "|---|---|---|---|", *rows])
    )


# Notebooks


@lru_cache(None)
def read(path: Path) -> Any:
    """A notebook: executed where that can be done here, by its recordings or on this kernel, else as it is kept."""
    if path == INVESTIGATION:
        return execute(path, env={"BPFNB_REPLAY": str(path.parent / "recordings")})
    if path in (QUICKSTART, NOTEBOOKS / "report.ipynb") and permitted() is None:
        return execute(path)
    import nbformat

    return nbformat.read(path, as_version=4)


def outputs(path: Path) -> Iterator[Any]:
    for cell in read(path).cells:
        yield from cell.get("outputs", [])


def as_markdown(path: Path) -> str:
    """Text and code of a notebook, with a place for each output."""
    text, number, told = [], 0, False
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            text.append(links_out(cell.source, path))
            if not told:
                told = True
                text.append(
                    f'!!! note ""\n    This page is `{path.relative_to(ROOT)}`; `./run lab` opens it.'
                )
        elif cell.cell_type == "code" and cell.source.strip():
            language = LANGUAGES.get(cell.source.split()[0], "python")
            fence = "`" * (max([2, *map(len, re.findall("`{3,}", cell.source))]) + 1)
            text.append(f"{fence}{language}\n{cell.source}\n{fence}")
        for _ in cell.get("outputs", []):
            text.append(f'<div class="output" data-number="{number}"></div>')
            number += 1
    return "\n\n".join(text) + "\n"


def links_out(markdown: str, path: Path) -> str:
    """Links to other notebooks lead to their pages."""
    known = {*shown(), *lab_notebooks()}

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(path.parent / match[2]))
        return f"{match[1]}{match[2].removesuffix('.ipynb')}.md{match[3]}" if target in known else match[0]

    return _LINK.sub(link, markdown)


def as_html(output: Any, plotly_script: str | None) -> str:
    """One output; *plotly_script* is for the first figure of a page."""
    data = output.get("data", {})
    if PLOTLY in data:
        import plotly.io

        figure = copy.deepcopy(data[PLOTLY])
        return str(
            plotly.io.to_html(
                figure,
                include_plotlyjs=plotly_script or False,
                include_mathjax=False,
                full_html=False,
                validate=False,
            )
        )
    if "text/html" in data:
        # The theme has a look of its own for tables without a class.
        return str(data["text/html"]).replace("<table>", '<table class="plain">')
    if "image/svg+xml" in data:
        return str(data["image/svg+xml"])
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{data["image/png"]}">'
    text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", []))
    return f"<pre>{escape(ESCAPES.sub('', text))}</pre>"
