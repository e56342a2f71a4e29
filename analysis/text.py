"""Text shared by all rooms: Markdown tables, tidy CSV, and numbers with their uncertainty."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gfl import escape

NONE = "—"  # nothing is recorded, or known
RULES = {"l": ":--", "c": ":-:", "r": "--:", "-": "---"}
BARE_PIPE = re.compile(r"(?<!\\)((?:\\\\)*)\|")


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell; ``value`` sorts it, None for words and for what is not known."""

    text: str
    value: float | None = None
    under: str = ""  # the uncertainty, on a line of its own
    is_clear: bool = False  # the interval excludes 0


@dataclass(frozen=True)
class Listing:
    """Table of words and numbers: names of columns, their alignment as in ``table``, rows."""

    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def is_numeric(self) -> list[bool]:
        """True for each column of numbers."""
        return [mark == "r" for mark in self.align.ljust(len(self.columns), self.align[-1])]


def table(rows: Iterable[Sequence[str]], align: str) -> str:
    """Return rows of Markdown, the header first, as a Markdown table.

    ``align`` has a letter per column: l, c, r, or - for none; the last one holds for the rest.
    """
    header, *body = rows
    rule = [RULES[mark] for mark in align.ljust(len(header), align[-1])]
    cells = ([BARE_PIPE.sub(r"\1\\|", cell) for cell in row] for row in (header, rule, *body))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def prose_table(rows: Iterable[Sequence[str]], left: Container[str] = ("",)) -> str:
    """Return rows of text, the header first, as a Markdown table; stars are escaped.

    Columns named in ``left`` are words, aligned to the left; the others are centred.
    """
    header, *body = ([escaped(cell) for cell in row] for row in rows)
    return table([header, *body], "".join("l" if name in left else "c" for name in header))


def escaped(text: str) -> str:
    """Escape stars, which would begin emphasis."""
    return text.replace("*", "\\*")


def tidy_csv(fields: Sequence[str], lines: Iterable[Mapping[str, object]]) -> str:
    """Return lines as CSV, their fields in this order; one that a line lacks is empty."""
    return escape.csv_file([fields, *([line.get(name, "") for name in fields] for line in lines)])


def number(value: float | None, form: str = ".1f") -> str:
    """Format a number, or the dash in place of none."""
    return NONE if value is None else f"{value:{form}}"


def mean(value: float, spread: float | None, digits: int) -> str:
    """Format ``74.4±0.8``, or the value alone if its spread is unknown."""
    return f"{value:z.{digits}f}{plus_minus(spread, digits)}"


def plus_minus(spread: float | None, digits: int) -> str:
    """Format ``±0.8``; empty if unknown."""
    return "" if spread is None else f"±{spread:.{digits}f}"


def signed(value: float, interval: tuple[float, float] | None, digits: int = 1) -> str:
    """Format ``+0.8 [-1.3, +2.9]``, or the value alone if no interval is known."""
    return estimate(value, interval, digits, "+")


def estimate(
    value: float, interval: tuple[float, float] | None, digits: int, sign: Literal["+", "-"] = "-"
) -> str:
    """Format ``0.653 [0.645, 0.661]``; ``sign`` is Python's: "+" writes that of positives, too."""
    text, *ends = (f"{x:{sign}z.{digits}f}" for x in (value, *(interval or ())))
    return f"{text} [{', '.join(ends)}]" if ends else text


def setting(value: object) -> str:
    """Format a factor of an experiment, or a fact about its machine."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
