"""Tables as DataFrames: the same numbers as in print, and what they say beside the paper's."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.notebook.delta_plot import gaps
from analysis.tables import dataframes
from analysis.tables.layout import DELTA, lay_out
from experiments import profiles
from experiments.tables.catalogue import TABLES

THREE = TABLES["table-3"]
# In the paper QFL +0.7, DFL +0.3, both +1.0.
APS = {"none": [70, 71, 72], "QFL": [68, 69.1, 69.9], "DFL": [73, 70, 74], "both": [74.0]}


def test_the_gap_is_taken_seed_by_seed(fill) -> None:
    frame = dataframes.compared(THREE, fill(THREE, APS))
    ours = frame["ours"]
    assert ours.loc["QFL", DELTA] == pytest.approx(-2)
    # -2, -1.9, -2.1: their standard deviation 0.1, and Student's t of 2 degrees of freedom 4.303
    half = 4.303 * 0.1 / 3**0.5
    assert ours.loc["QFL", "from"] == pytest.approx(-2 - half, abs=1e-3)
    assert ours.loc["QFL", "to"] == pytest.approx(-2 + half, abs=1e-3)
    assert ours.loc["both", DELTA] == pytest.approx(4)  # of seed 0, which is all it has
    assert list(ours["seeds"]) == [3, 3, 3, 1]
    assert frame["paper"].loc["QFL", DELTA] == pytest.approx(0.7)


def test_a_reading_has_a_sign_and_how_sure_it_is(fill) -> None:
    read = dataframes.compared(THREE, fill(THREE, APS))[dataframes.READING]
    assert dict(read) == {
        "none": "baseline",
        "QFL": "other sign, clear",
        "DFL": "same sign, interval has 0",
        "both": "same sign, one seed",
    }


def test_rows_without_runs_say_so(fill) -> None:
    read = dataframes.compared(THREE, fill(THREE, {"QFL": [70]}))[dataframes.READING]
    assert dict(read) == {
        "none": "not run", "QFL": "its baseline is not run", "DFL": "not run", "both": "not run",
    }  # fmt: skip
    assert gaps({"Table 3": dataframes.compared(THREE, fill(THREE, {}))}) is None


def test_a_table_of_two_detectors_names_them(fill) -> None:
    table = TABLES["table-2a"]
    frame = dataframes.compared(
        table, fill(table, {"ATSS Dirac delta": [70], "ATSS General": [71]})
    )
    assert frame.index.names == ["detector", "Prior Distribution"]
    assert frame.loc[("ATSS", "General"), ("ours", DELTA)] == pytest.approx(1)
    assert frame.loc[("FCOS", "General"), dataframes.READING] == "not run"


def test_the_sign_is_shaded_and_dark_where_it_is_clear(fill) -> None:
    html = dataframes.styled(dataframes.compared(THREE, fill(THREE, APS)), "Table 3").to_html()
    for shade in (("other sign", "clear"), ("same sign", "one seed")):
        assert dataframes.SHADES[shade] in html
    assert dataframes.SHADES["same sign", "clear"] not in html
    assert (
        html == dataframes.styled(dataframes.compared(THREE, fill(THREE, APS)), "Table 3").to_html()
    )


def test_orders_count_pairs(fill) -> None:
    line = dataframes.orders(THREE, fill(THREE, APS)).loc["Table 3"]
    assert line["order in the paper"] == "both > QFL > DFL > none"
    assert line["order here"] == "both > DFL > none > QFL"
    assert line["pairs"] == 6
    assert line["reversed"] == 2  # QFL under DFL and under none
    assert line["as in the paper"] == 4
    assert line["of those clear"] == 1  # QFL under none


def test_orders_of_a_table_without_results_are_empty(fill) -> None:
    assert len(dataframes.orders(THREE, fill(THREE, {"none": [70]}))) == 0


@pytest.mark.parametrize("name", TABLES)
def test_printed_has_every_line_of_the_sheet(name: str, fill) -> None:
    made = lay_out(TABLES[name], profiles.get("laptop"), fill(TABLES[name], {}), False)
    frame = dataframes.printed(made)
    lines = [line.cells for block in made.blocks for line in block.lines]
    assert len(frame) == len(lines)
    numbers = [tuple(row) for row in frame.itertuples(index=False)]
    assert numbers == [line[made.lead :] for line in lines]
    assert not isinstance(frame.index, pd.RangeIndex)


def test_gaps_leaves_out_what_has_none(fill) -> None:
    figure = gaps({"Table 3": dataframes.compared(THREE, fill(THREE, APS)),
                   "none": dataframes.compared(THREE, fill(THREE, {}))})  # fmt: skip
    assert figure is not None
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["QFL", "DFL", "both"]


def test_unabridged_keeps_long_text(fill) -> None:
    table = TABLES["table-1a"]
    aps = {f"ATSS {row.key}": [70.0 + i] for i, row in enumerate(table.rows)}
    found = dataframes.orders(table, fill(table, aps))
    (order,) = found["order here"]
    assert len(order) > 80
    assert order in dataframes.unabridged(found).to_html()
