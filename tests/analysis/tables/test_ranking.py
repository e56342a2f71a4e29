from collections.abc import Callable

from analysis.tables.ranking import Order, order, published
from experiments.tables import catalogue as declared
from experiments.tables.declare import Table

TABLE3 = declared.find("table-3")  # the paper: both 40.2, QFL 39.9, DFL 39.5, none 39.2
TABLE2B = declared.find("table-2b")  # 12 and 18 have 40.1, 14 and 16 have 40.2


def found(fill: Callable, aps: dict[str, tuple[float, ...]], table: Table = TABLE3) -> Order | None:
    return order([(cell, cell.reference) for cell in fill(table, aps)])


def test_both_orders_are_shown_and_a_clear_reversal_named(fill: Callable) -> None:
    aps = {
        "none": (30.0, 31.0, 32.0), "QFL": (27.0, 28.1, 28.9), "DFL": (31.0, 32.1, 32.9),
        "both": (31.5, 31.5, 33.5),
    }  # fmt: skip
    made = found(fill, aps)
    assert made is not None
    assert published(fill(TABLE3, aps)) == "both > QFL > DFL > none"
    # QFL is 4 below DFL in every seed, and 2.9 to 3.1 below none; both is 3.4 to 4.6 above QFL,
    # and ±1 about DFL and none.
    assert made.ranking == "both > DFL > none > QFL"
    reversed_ = {(pair.better, pair.worse) for pair in made.pairs if pair.found.sign < 0}
    assert reversed_ == {("QFL", "DFL"), ("QFL", "none")}
    assert made.text == (
        "both > DFL > none > QFL. 4 of 6 pairs as in the paper (2 clearly), 2 reversed "
        "(2 clearly: none over QFL +3.0 [+2.8, +3.2], paper -0.7; "
        "DFL over QFL +4.0 [+4.0, +4.0], paper -0.4)."
    )


def test_noise_is_not_called_a_reversal(fill: Callable) -> None:
    made = found(fill, {"none": (30.0, 31.0, 32.0), "QFL": (29.9, 31.5, 31.0)})
    assert made is not None
    assert made.text == (
        "none > QFL (2 of 4 rows). 0 of 1 pair as in the paper (0 clearly), 1 reversed (0 clearly)."
    )


def test_one_seed_gives_no_verdict(fill: Callable) -> None:
    made = found(fill, {"none": (30.0,), "QFL": (20.0,), "both": (40.0,)})
    assert made is not None
    assert made.text == (
        "both > none > QFL (3 of 4 rows). 2 of 3 pairs as in the paper, 1 reversed; "
        "one seed: no verdict."
    )
    some = found(fill, {"none": (30.0, 31.0), "QFL": (31.0, 32.0), "both": (40.0,)})
    assert some is not None
    assert some.text.endswith("0 reversed; 2 pairs with one seed: no verdict.")


def test_equal_rows_are_not_in_the_papers_order(fill: Callable) -> None:
    """At the smoke profile every AP is 0."""
    made = found(fill, {"none": (0.0, 0.0), "QFL": (0.0, 0.0)})
    assert made is not None
    assert made.text == (
        "none = QFL (2 of 4 rows). 0 of 1 pair as in the paper (0 clearly), 0 reversed, 1 equal."
    )


def test_rows_that_the_paper_ties_cannot_be_reversed(fill: Callable) -> None:
    aps = {"12": (50.0,), "14": (51.0,), "16": (49.0,), "18": (48.0,)}
    made = found(fill, aps, TABLE2B)
    assert made is not None
    assert published(fill(TABLE2B, aps)) == "14 = 16 > 12 = 18"
    assert [(pair.better, pair.worse) for pair in made.pairs] == [
        ("14", "12"), ("16", "12"), ("14", "18"), ("16", "18"),
    ]  # fmt: skip
    tied = found(fill, {"14": (1.0,), "16": (2.0,)}, TABLE2B)
    assert tied is not None
    assert tied.text == "16 > 14 (2 of 4 rows). No pair that the paper tells apart."


def test_one_row_has_no_order(fill: Callable) -> None:
    assert found(fill, {"none": (30.0, 31.0)}) is None
