"""Declared tables as pandas DataFrames: the paper's differences beside ours, and the rankings."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate
from analysis.tables import fill
from analysis.tables.fill import Filled
from analysis.tables.layout import DELTA, TableLayout
from analysis.tables.ranking import order, published
from analysis.text import NONE
from experiments.tables.declare import Table

PAPER, OURS = "paper", "ours"
READING = (OURS, "reading")
SAME, OTHER, NO_GAP = "same sign", "other sign", "a gap of 0"
NOT_PUBLISHED = "no published gap"
CLEAR, UNCLEAR, ONE_SEED = "clear", "interval has 0", "one seed"
# Blue if the sign is the paper's, orange if not; dark if the interval excludes 0.
SHADES = {
    (SAME, CLEAR): "#8CC0E8",
    (SAME, UNCLEAR): "#DCEBF7",
    (SAME, ONE_SEED): "#DCEBF7",
    (OTHER, CLEAR): "#F2B457",
    (OTHER, UNCLEAR): "#FBEBD0",
    (OTHER, ONE_SEED): "#FBEBD0",
}


def compared(table: Table, filled: Sequence[Filled], source: str = "reference") -> pd.DataFrame:
    """Return AP and ΔAP of every row, the paper's beside those of one of ``fill.sources``.

    Columns of ``ours``: AP and its standard deviation over seeds, the number of seeds; ΔAP with
    the ends of its 95 % interval (NaN for one seed), and a comparison with the paper's sign.
    """
    cells = [cell for group in table.groups for cell in filled if cell.cell.group == group]
    index = pd.MultiIndex.from_tuples(
        [(cell.cell.group.name, cell.cell.row.key) for cell in cells],
        names=["detector", table.heading or " "],
    )
    made = pd.DataFrame([_numbers(cell, source) for cell in cells], index=index)
    made.columns = pd.MultiIndex.from_tuples(list(made.columns))
    made = made.astype({column: float for column in made.columns if column != READING})
    return made if len(table.groups) > 1 else made.droplevel("detector")


def styled(frame: pd.DataFrame, caption: str = "") -> Styler:
    """Style ``compared``'s result for display: digits, and the sign of the gap shaded.

    Blue: the sign is the paper's; orange: it is not; dark: the interval excludes 0.
    """
    signed = [c for c in frame.columns if c[1] in (DELTA, "from", "to")]
    plain = [c for c in frame.columns if c[1] in ("AP", "sd")]
    look = frame.style.apply(_shades, axis=1).set_caption(caption)
    look.format("{:.1f}", plain, na_rep=NONE)
    look.format("{:+.1f}", signed, na_rep="")
    look.format("{:.0f}", [(OURS, "seeds")], na_rep="")
    look.set_properties([(OURS, "AP")], **{"border-left": "1px solid"})
    look.set_properties([READING], **{"text-align": "left"})
    look.set_table_styles([{"selector": "th.col_heading", "props": "text-align: center"}])
    # The default is a random name: the same table would have different bytes.
    return look.set_uuid("".join(filter(str.isalnum, caption)).lower() or "table")


def orders(table: Table, filled: Sequence[Filled], source: str = "reference") -> pd.DataFrame:
    """Return the paper's and our ranking of the rows by AP, and the number of pairs that agree.

    A pair is two rows that the paper distinguishes; it is clear if its interval excludes 0. A group
    of columns with fewer than two results is omitted.
    """
    lines = {}
    for group in table.groups:
        cells = [cell for cell in filled if cell.cell.group == group]
        found = order([(cell, cell.records(source)) for cell in cells])
        if found is None:
            continue
        known = [cell for cell in cells if uncertainty.mean(cell.records(source), "AP")]
        signs = [pair.found.sign for pair in found.pairs]
        clear = [pair.found.sign for pair in found.pairs if pair.found.is_clear]
        lines[" ".join(filter(None, (table.title, group.name)))] = {
            "order in the paper": published(known),
            "order here": found.ranking,
            "pairs": len(signs),
            "as in the paper": signs.count(1),
            "of these clear": clear.count(1),
            "reversed": signs.count(-1),
            "of those clear": clear.count(-1),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def unabridged(frame: pd.DataFrame) -> Styler:
    """Return a frame for display with all of its text, which pandas cuts at 50 letters."""
    left = {"text-align": "left"}
    look = frame.style.set_properties(frame.select_dtypes(exclude="number").columns, **left)
    return look.set_uuid("text")


def printed(made: TableLayout) -> pd.DataFrame:
    """Return a table as printed, all numbers as text, a line for paper and source."""
    lead = [made.header[0] or "row", *made.header[1 : made.lead]]
    if made.has_sources:
        lead[-1] = "source"
    placed = [(block.title, line.cells) for block in made.blocks for line in block.lines]
    index = [(title, *cells[: made.lead]) for title, cells in placed]
    numbers = [cells[made.lead :] for _, cells in placed]
    frame = pd.DataFrame(
        numbers,
        columns=list(made.header[made.lead :]),
        index=pd.MultiIndex.from_tuples(index, names=["detector", *lead]),
    )
    return frame if any(title for title, _ in placed) else frame.droplevel("detector")


def _numbers(cell: Filled, source: str) -> dict[tuple[str, str], float | int | str | None]:
    records = cell.records(source)
    own, gap = uncertainty.mean(records, "AP"), cell.difference(source)
    expected = fill.published_difference(cell, cell.base)
    low, high = gap.interval if gap and gap.interval else (None, None)
    reading = "not run" if own is None else "baseline"
    if own and cell.base:
        reading = ", ".join(_reading(expected, gap)) if gap else "its baseline is not run"
    return {
        (PAPER, "AP"): cell.cell.published["AP"],
        (PAPER, DELTA): expected,
        (OURS, "AP"): own.mean if own else None,
        (OURS, "sd"): own.spread if own else None,
        (OURS, "seeds"): len(records) or None,
        (OURS, DELTA): gap.value if gap else None,
        (OURS, "from"): low,
        (OURS, "to"): high,
        READING: reading,
    }


def _reading(expected: float | None, gap: Estimate) -> tuple[str, str]:
    """Compare the sign of a difference with the paper's, and describe its certainty."""
    if expected is None:
        sign = NOT_PUBLISHED
    else:
        product = expected * gap.value
        sign = SAME if product > 0 else OTHER if product < 0 else NO_GAP
    return sign, ONE_SEED if gap.interval is None else CLEAR if gap.is_clear else UNCLEAR


def _shades(row: pd.Series) -> list[str]:
    sign, _, certainty = str(row[READING]).partition(", ")
    shade = SHADES.get((sign, certainty))
    colour = f"background-color: {shade}; color: black" if shade else ""
    shaded = {(OURS, name) for name in (DELTA, "from", "to", "reading")}
    return [colour if column in shaded else "" for column in row.index]
