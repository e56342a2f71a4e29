"""Tables on the terminal, split into pages of columns if too wide."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid

from analysis.tables.layout import Block, TableLayout
from gfl import terminal
from gfl.terminal import legible

Row = tuple[str, ...]  # some columns of a line, or of the header
PIPED = 200  # columns, if the width is unknown
GAPS = (2, 1)  # between columns: the wide one, unless the narrow one avoids a split
WIDEST_TEXT = 100  # columns; longer lines of prose are hard to read


def show(made: TableLayout, verdicts: Sequence[str]) -> None:
    """Print the table and its notes."""
    console = screen()
    console.print()
    for block in made.blocks:
        title = made.title + (f": {block.title}" if block.title else "")
        console.print(legible(title), style="bold")
        for page in pages(made, block, console.width):
            console.print(page)
            console.print()
    for mark, note in made.footnotes:
        paragraph(console, f"{mark} {note}", "  ")
    for line in (line for text in [*made.notes, *verdicts] for line in text.splitlines()):
        paragraph(console, line, "    " if line.startswith("  ") else "")


def screen() -> Console:
    """Return the console for tables; wide if the width is unknown."""
    found = terminal.console()
    piped = not (found.is_terminal or "COLUMNS" in os.environ)
    return terminal.console(width=PIPED) if piped else found


def paragraph(console: Console, text: str, indent: str = "") -> None:
    """Print text, wrapped at words; further lines are indented."""
    wrapped = textwrap.fill(
        legible(text),
        min(console.width, WIDEST_TEXT),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(wrapped, soft_wrap=True)


def pages(made: TableLayout, block: Block, width: int) -> list[Grid]:
    """Return the whole block, or as many pages of its columns as a narrow terminal needs.

    Later pages begin with the row's unique name, in place of name and marks.
    """
    cells = (made.header, *(line.cells for line in block.lines))
    rows = [tuple(map(legible, row)) for row in cells]
    numbers = [row[made.lead :] for row in rows]
    first = [row[: made.lead] for row in rows]
    keys = [(made.header[0], ""), *((line.key, line.source) for line in block.lines)]
    keys = [(legible(key), legible(source)) for key, source in keys]
    later = keys if made.has_sources else [key[:1] for key in keys]
    cuts = {gap: _cuts(numbers, first, later, width, gap) for gap in GAPS}
    gap = next((gap for gap in GAPS if len(cuts[gap]) == 1), GAPS[0])
    return [
        _grid(later if start else first, [row[start:end] for row in numbers], block, gap)
        for start, end in cuts[gap]
    ]


def _cuts(
    numbers: Sequence[Row], first: Sequence[Row], later: Sequence[Row], width: int, gap: int
) -> list[tuple[int, int]]:
    """Return the boundaries between pages of columns, at least one column per page."""
    starts, left = [0], width - sum(gap + size for size in _widths(first))
    for i, size in enumerate(_widths(numbers)):
        if size > left and i > starts[-1]:
            starts.append(i)
            left = width - sum(gap + size for size in _widths(later))
        left -= gap + size
    return list(pairwise([*starts, len(numbers[0])]))


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _grid(lead: Sequence[Row], numbers: Sequence[Row], block: Block, gap: int) -> Grid:
    """Return one page: separates rows of several lines; dims the paper's line above others."""
    grid = Grid(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    (head, *labels), (names, *texts) = lead, numbers
    for i, name in enumerate((*head, *names)):
        is_text = i == 0 or (i < len(head) and not name)  # the row's name and the source
        grid.add_column(name, justify="left" if is_text else "center", no_wrap=True)
    lines = block.lines
    for i, (label, text) in enumerate(zip(labels, texts, strict=True)):
        is_papers = lines[i].source == "paper"
        has_more = i + 1 < len(lines) and not lines[i + 1].key
        is_after_run = i > 0 and lines[i - 1].source != "paper"
        if lines[i].key and (has_more or is_after_run or not is_papers):
            grid.add_row()
        grid.add_row(*label, *text, style="dim" if is_papers and has_more else None)
    return grid
