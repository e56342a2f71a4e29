"""All declared tables, and finding one by the name a person gives it."""

from __future__ import annotations

import re

from experiments import table1, table2, table3, table4
from experiments.declare import Table
from gfl.errors import UserError, did_you_mean

TABLES: dict[str, Table] = {
    table.name: table for table in (*table1.PARTS, *table2.PARTS, table3.TABLE, table4.TABLE)
}
WHOLE: dict[str, tuple[Table, ...]] = {"table-1": table1.PARTS, "table-2": table2.PARTS}
NAMES = (*WHOLE, *TABLES)


def normal(name: str) -> str:
    """``1a``, ``table1a``, ``Table 1(a)`` and ``table-1a`` are one name."""
    number = re.fullmatch(r"(?:tables?)?[\s_-]*(\d+)(\(?)([a-z]?)(\)?)", name.strip().lower())
    if number is None or bool(number[2]) != bool(number[4]):
        return name
    return f"table-{number[1]}{number[3]}"


def parts(name: str) -> list[Table]:
    """The lettered parts of a table of the paper, in order, or the one table of that name.

    Raises:
        UserError: no such table is declared.
    """
    key = normal(name)
    if key in WHOLE:
        return list(WHOLE[key])
    if key in TABLES:
        return [TABLES[key]]
    raise UserError(f"unknown table {name!r}{did_you_mean(key, NAMES)}")


def find(name: str) -> Table:
    """Look up one table, which has no parts.

    Raises:
        UserError: no such table is declared, or it has parts.
    """
    if len(found := parts(name)) > 1:
        raise UserError(f"{name!r} has parts: {', '.join(table.name for table in found)}")
    return found[0]
