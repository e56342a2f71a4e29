"""All declared tables, and finding one by the name a person gives it."""

from __future__ import annotations

import re

from experiments import table3
from experiments.declare import Table
from experiments.table1 import TABLE_1C
from experiments.table2 import TABLE_2B, TABLE_2C
from gfl.errors import UserError, did_you_mean

TABLES: dict[str, Table] = {
    table.name: table for table in (TABLE_1C, TABLE_2B, TABLE_2C, table3.TABLE)
}


def normal(name: str) -> str:
    """``3``, ``table3``, ``Table 3`` and ``table-3`` are one name."""
    number = re.fullmatch(r"(?:tables?)?[\s_-]*(\d+[a-z]?)", name.strip().lower())
    return f"table-{number[1]}" if number else name


def find(name: str) -> Table:
    """Look a table up.

    Raises:
        UserError: no such table is declared.
    """
    if (table := TABLES.get(normal(name))) is None:
        raise UserError(f"unknown table {name!r}{did_you_mean(normal(name), TABLES)}")
    return table
