"""A page as data, and how it becomes one self-contained HTML file or Markdown.

A page is a list of articles, one per run, each a list of sections; a section holds grids (`grids.py`), charts
(`charts.py`), pictures (`pictures.py`) and prose. The templates, the style and the script lie in `page/`.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import vl_convert

from bench import charts, grids
from bench.grids import Grid, Link, Number, Word
from bench.pictures import Picture
from bench.tables import markdown_table, marked

PAGE, MARKDOWN, INSPECTION = "report.html", "report.md", "inspect.html"
TEMPLATES = Path(__file__).parent / "page"
# More pairs than that are no table in a pull request any more.
MOST_PAIRS_IN_MARKDOWN = 50


@dataclass(frozen=True)
class Figure:
    """A chart under a title; `said` is what it shows, in words, for those who do not see it."""

    title: str
    said: str
    chart: charts.Chart
    kind: str = "figure"

    @property
    def note(self) -> str:
        """What a reader might take for something else."""
        return "Some intervals reach beyond this chart; the CSV has them whole." if charts.is_cut(self.chart) else ""


@dataclass(frozen=True)
class Table:
    """A grid; `folded` where it opens on demand only."""

    grid: Grid
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Gallery:
    """Several figures or pictures side by side, as many as the width allows."""

    title: str
    parts: Sequence[Figure | Picture]
    folded: bool = False
    kind: str = "gallery"


@dataclass(frozen=True)
class Prose:
    text: str
    kind: str = "prose"


@dataclass(frozen=True)
class Facts:
    """Names and what they are, few enough to need no table."""

    items: Mapping[str, str]
    kind: str = "facts"


@dataclass(frozen=True)
class Command:
    """What a reader types to get the same again."""

    text: str
    kind: str = "command"


Part = Figure | Table | Gallery | Prose | Facts | Command | Picture


@dataclass(frozen=True)
class Section:
    slug: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Download:
    """A file of the run as the page carries it: compressed, in base64; nothing where it is too large."""

    name: str
    size: int
    content: str


@dataclass(frozen=True)
class Article:
    """One run. `number` is its place on the page, from 1; 0 is what they have in common."""

    number: int
    title: str
    problems: Sequence[str]
    sections: Sequence[Section]
    downloads: Sequence[Download] = ()


@dataclass(frozen=True)
class Page:
    """`places` says of each row, by its identity, where it stands; `problems` are of the page as a whole."""

    title: str
    articles: Sequence[Article]
    about: str = "LeNet-5 in several deep-learning frameworks, proven to be the same network, timed on one machine."
    places: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[str] = ()


def as_html(page: Page) -> str:
    """The page in one piece, with the library that draws its charts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    specs: list[dict[str, Any]] = []

    def drawn(chart: charts.Chart) -> int:
        """Keep the chart's specification for the script; its number on the page."""
        spec = chart.to_dict()
        spec.pop("config", None)
        specs.append(spec)
        return len(specs) - 1

    def cell(pieces: grids.Cell) -> markupsafe.Markup:
        return markupsafe.Markup("").join(piece_html(piece, page.places) for piece in pieces)

    environment.filters.update(cell=cell, sort_key=sort_key, lines=lines)
    read = {name: markupsafe.Markup((TEMPLATES / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    articles = environment.get_template("articles.html").render(page=page, drawn=drawn)  # first: it collects the charts
    return environment.get_template("page.html").render(
        page=page,
        articles=markupsafe.Markup(articles),
        specs=packed(json.dumps({"specs": specs, "config": charts.CONFIG}, allow_nan=False).encode()),
        library=library() if specs else "",
        **read,
    )


@functools.cache
def library() -> markupsafe.Markup:
    """Vega-Lite and what it needs, as one script."""
    return markupsafe.Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def piece_html(piece: grids.Piece, where: Mapping[int, str]) -> markupsafe.Markup:
    """One piece of a cell; a number says which cell of which file it is."""
    if isinstance(piece, Number):
        if piece.value is None:
            return markupsafe.Markup("")
        place = f"{where[id(piece.row)]} {piece.column} {piece.how}".strip() if id(piece.row) in where else ""
        return markupsafe.Markup('<data value="{}" data-cell="{}">{}</data>').format(
            repr(piece.value), place, str(piece)
        )
    if isinstance(piece, Link):
        return markupsafe.Markup('<a href="#{}">{}</a>').format(piece.target, piece.text)
    if isinstance(piece, Word):
        return markupsafe.Markup('<span class="word {}">{}</span>').format(piece.kind.replace(" ", "-"), piece.text)
    return lines(piece)


def lines(text: str) -> markupsafe.Markup:
    return markupsafe.Markup("<br>").join(text.split("\n"))


def sort_key(pieces: grids.Cell) -> str:
    """What a cell is sorted by: its first number, else its words."""
    numbers = [piece.value for piece in pieces if isinstance(piece, Number)]
    return repr(numbers[0]) if numbers and numbers[0] is not None else "".join(map(str, pieces))


def packed(content: bytes) -> str:
    """Bytes as the page carries them: gzip in base64. `unpack` of its script reads them."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def as_markdown(page: Page) -> str:
    """The page's tables for a pull request; the list of pairs only where it is short."""
    text = [f"# {marked(page.title)}", *(f"- **{marked(problem)}**" for problem in page.problems)]
    for one in page.articles:
        text.append(f"## {marked(one.title)}")
        text += [f"- **{marked(problem)}**" for problem in one.problems]
        for section in one.sections:
            tables = [part for part in section.parts if isinstance(part, (Table, Facts, Command))]
            if tables:
                text.append(f"### {section.title}")
            for part in tables:
                if isinstance(part, Command):
                    text.append(f"This repeats the run:\n\n```\n{part.text}\n```")
                elif isinstance(part, Facts):
                    text.append("\n".join(f"- {name}: {marked(said)}" for name, said in part.items.items()))
                elif part.folded and len(part.grid.rows) > MOST_PAIRS_IN_MARKDOWN:
                    text.append(f"{marked(part.grid.title)}: {len(part.grid.rows)} rows, on the page and in its CSV.")
                elif part.grid.rows:
                    text += [f"**{marked(part.grid.title)}**", markdown_table(part.grid)]
    return "\n\n".join(text) + "\n"
