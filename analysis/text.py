"""Text shared by all rooms: Markdown tables, and numbers with their uncertainty."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Literal


def table(rows: Iterable[tuple[str, ...]], left: Container[str] = ("",)) -> str:
    """Return rows, the header first, as a Markdown table; columns named in ``left`` are words."""
    header, *body = rows
    rule = tuple(":--" if name in left else ":-:" for name in header)
    cells = (tuple(escaped(text).replace("|", "\\|") for text in row) for row in body)
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *cells))


def escaped(text: str) -> str:
    """Escape stars, which would begin emphasis."""
    return text.replace("*", "\\*")


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
