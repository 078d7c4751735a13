"""A grid in the terminal, as a Rich table that fits it, and in Markdown."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench.grids import Cell, Grid, Word
from bench.results import printable

NO_SPACE = "&#8203;"
STYLES = {
    "ok": "green",
    "unavailable": "yellow",
    "noisy": "yellow",
    "failed": "red",
    "mismatch": "red",
    "differs": "red",
    "slower": "red",
    "missing": "red",
    "inconclusive": "yellow",
    "faster": "green",
    "dim": "dim",
}

# Characters of a text that is still a name, and keeps to one line.
LONGEST_NAME = 20


def print_table(console: Console, grid: Grid) -> None:
    """The grid, as wide as the console at most: no number is broken, and what is left out is named.

    A matrix is printed in parts. Words wrap between words.
    """
    if grid.matrix:
        for part in parts_of(console, grid):
            console.print(rich_table(part))
        return
    kept = kept_columns(console, grid)
    console.print(rich_table(grid.of_columns(kept)))
    left_out = [one.text for index, one in enumerate(grid.headings) if index not in kept]
    if left_out:
        line = f"not shown, for want of room in {console.width} columns: {', '.join(left_out)}"
        console.print(line, style="dim", highlight=False)


def kept_columns(console: Console, grid: Grid) -> list[int]:
    """All columns but as many of those of numbers, from the last one on, as are too many for the console."""
    kept = list(range(len(grid.headings)))
    numeric = [index for index in kept if grid.headings[index].numeric]
    while numeric and not fits(console, grid.of_columns(kept)):
        kept.remove(numeric.pop())
    return kept


def parts_of(console: Console, grid: Grid) -> Iterator[Grid]:
    """The grid in as few parts as fit the console, each with the columns that name its rows."""
    own, rest = list(range(grid.names)), list(range(grid.names, len(grid.headings)))
    while rest:
        counts = range(len(rest), 0, -1)
        count = next((n for n in counts if fits(console, grid.of_columns([*own, *rest[:n]]))), 1)
        part = grid.of_columns([*own, *rest[:count]])
        yield replace(part, rows=[row for row in part.rows if any(row[grid.names :])])
        rest = rest[count:]


def fits(console: Console, grid: Grid) -> bool:
    return Measurement.get(console, console.options.update(width=10_000), rich_table(grid)).minimum <= console.width


def rich_table(grid: Grid) -> Table:
    """The grid for the terminal. Only texts that are no names take several lines, and those break between words."""
    table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, heading in enumerate(grid.headings):
        cells = [styled(row[index]).plain for row in grid.rows]
        whole = heading.numeric or max(map(len, cells), default=0) <= LONGEST_NAME
        text = in_lines(heading.text, cells) if whole else heading.text
        unbroken = [part for cell in (*cells, text) for part in (cell.split("\n") if whole else cell.split())]
        justify: JustifyMethod = "right" if heading.numeric else "left"
        table.add_column(text, justify=justify, no_wrap=whole, min_width=max(map(len, unbroken), default=0))
    for row in grid.rows:
        table.add_row(*map(styled, row))
    return table


def in_lines(heading: str, cells: Sequence[str]) -> str:
    """A heading in lines that are no wider than what stands below it, unless by one word."""
    lines = [line for cell in cells for line in cell.split("\n")]
    width = max(map(len, [*lines, *heading.split()]), default=1)
    return "\n".join(textwrap.fill(part, width, break_on_hyphens=False) for part in heading.split("\n"))


def styled(cell: Cell) -> Text:
    """A cell whose words of verdict have their colour; a dim one is dim as a whole."""
    parts = [(str(piece), STYLES.get(piece.kind, "") if isinstance(piece, Word) else "") for piece in cell]
    return Text.assemble(*parts, style="dim" if any(style == "dim" for _, style in parts) else "")


def markdown_table(grid: Grid) -> str:
    """The grid for a README or a pull request, without its title."""
    lines = [[marked(heading.text) for heading in grid.headings]]
    lines.append(["---:" if heading.numeric else "---" for heading in grid.headings])
    lines += [[marked("".join(map(str, cell))) for cell in row] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def marked(text: str) -> str:
    """Text as it is, on one line: it neither ends a table's cell nor begins a tag, a link, a heading or code.

    GitHub makes links of bare addresses, and notifies a user whose name follows an @: a space of no width prevents it.
    """
    plain = re.sub(r"([\\`\[\]*~$])", r"\\\1", html.escape(printable(text), quote=False))
    plain = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)  # within a word, as in space_to_depth, it is itself
    return re.sub(r"@|#|:(?=//)|www(?=\.)", rf"\g<0>{NO_SPACE}", plain, flags=re.IGNORECASE).replace("|", "&#124;")
