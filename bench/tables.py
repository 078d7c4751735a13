"""A grid in the terminal, as a Rich table, and in Markdown."""

from __future__ import annotations

import html
import re

from rich.table import Table
from rich.text import Text

from bench.grids import Cell, Grid, Word

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


def rich_table(grid: Grid) -> Table:
    """The grid for the terminal."""
    table = Table(title=grid.title)
    for heading in grid.headings:
        table.add_column(heading.text, justify="right" if heading.numeric else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*map(styled, row))
    return table


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
    """Text as it is: it neither ends a table's cell nor begins a tag, a link or code."""
    plain = re.sub(r"([\\`\[\]*])", r"\\\1", html.escape(text, quote=False))
    return plain.replace("|", "&#124;").replace("\n", " ")
