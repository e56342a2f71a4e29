"""Catalogue of all declared tables, with look-up by name."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Mapping
from dataclasses import replace

from experiments.tables import table1, table2, table3, table4
from experiments.tables.declare import EXTRA, Row, Table
from gfl.errors import UserError, did_you_mean
from gfl.experiment import AnyExperiment, Profile, at_scale

PAPERS = {table.name: table for table in (*table1.PARTS, *table2.PARTS, table3.TABLE, table4.TABLE)}
# Tables 1 to 3, which vary the factors of one detector: Table 4 compares others.
FACTORIAL = tuple(name for name in PAPERS if name != table4.TABLE.name)


def with_extra(rows: Mapping[str, tuple[Row, ...]]) -> dict[str, Table]:
    """Return the paper's tables by name, each extended by the ``rows`` under its name.

    Raises:
        ValueError: there is no such table, or a row does not fit it.
    """
    for name in rows:
        if name not in PAPERS:
            raise ValueError(f"{EXTRA}: unknown table {name!r}{did_you_mean(name, PAPERS)}")
        if isinstance(rows[name], Row):
            raise ValueError(f"{EXTRA}: {name}: a single row needs a comma after it: (Row(...),)")
    return {name: replace(table, extra=rows.get(name, ())) for name, table in PAPERS.items()}


def _declared() -> dict[str, Table]:
    """Return the tables with the rows of ``experiments/tables/extra.py``.

    Raises:
        UserError: that file is invalid.
    """
    try:
        from experiments.tables.extra import ROWS

        return with_extra(ROWS)
    except Exception as err:
        raise UserError(_mistake(err)) from err


def _mistake(err: Exception) -> str:
    """Describe the error in ``experiments/tables/extra.py``, with its line if known."""
    text = str(err) or type(err).__name__
    if text.startswith(EXTRA):
        return text
    frames = traceback.walk_tb(err.__traceback__)
    lines = [
        n for frame, n in frames if frame.f_globals.get("__name__") == "experiments.tables.extra"
    ]
    if isinstance(err, SyntaxError):
        text, lines = f"not Python: {err.msg}", [err.lineno]
    return f"{EXTRA}{f', line {lines[-1]}' if lines else ''}: {text}"


TABLES: dict[str, Table] = _declared()
WHOLE: dict[str, tuple[str, ...]] = {
    name: tuple(part.name for part in parts)
    for name, parts in (("table-1", table1.PARTS), ("table-2", table2.PARTS))
}
NAMES = (*WHOLE, *TABLES)


def normal(name: str) -> str:
    """Normalise a name: ``1a``, ``table1a``, ``Table 1(a)`` and ``table-1a`` are the same."""
    number = re.fullmatch(r"(?:tables?)?[\s_-]*(\d+)(\(?)([a-z]?)(\)?)", name.strip().lower())
    if number is None or bool(number[2]) != bool(number[4]):
        return name
    return f"table-{number[1]}{number[3]}"


def parts(name: str) -> list[Table]:
    """Return all tables, the lettered parts of one of the paper's in order, or that of the name.

    Raises:
        UserError: no such table is declared.
    """
    if name == "all":
        return list(TABLES.values())
    key = normal(name)
    if key in WHOLE:
        return [TABLES[part] for part in WHOLE[key]]
    if key in TABLES:
        return [TABLES[key]]
    raise UserError(f"unknown table {name!r}{did_you_mean(key, NAMES)}")


def find(name: str) -> Table:
    """Look up one table, without parts.

    Raises:
        UserError: no such table is declared, or it has parts.
    """
    if len(found := parts(name)) > 1:
        raise UserError(f"{name!r} has parts: {', '.join(table.name for table in found)}")
    return found[0]


def experiments(profile: Profile, among: Collection[str] = PAPERS) -> list[AnyExperiment]:
    """Return every experiment that some row of the paper, in these tables, runs at the profile."""
    tables = (t for name, t in TABLES.items() if name in among and t.runs_at(profile.name))
    cells = (cell for table in tables for cell in table.cells())
    found = (at_scale(cell.experiment, profile) for cell in cells if cell.experiment)
    return list(dict.fromkeys(found))
