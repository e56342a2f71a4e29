"""Markdown of what all rooms print."""

from __future__ import annotations

from collections.abc import Container, Iterable


def table(rows: Iterable[tuple[str, ...]], left: Container[str] = ("",)) -> str:
    """Return rows, the header first, as a Markdown table; columns named in ``left`` are words."""
    header, *body = rows
    rule = tuple(":--" if name in left else ":-:" for name in header)
    cells = (tuple(escaped(text).replace("|", "\\|") for text in row) for row in body)
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *cells))


def escaped(text: str) -> str:
    """Keep a star from beginning emphasis."""
    return text.replace("*", "\\*")
