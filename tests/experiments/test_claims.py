"""The claims as data: sentences that the paper has, numbers that its tables have."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.claims import CLAIMS, TEXT_CHECKS, text_numbers
from experiments.claims.declare import (
    At,
    Contrast,
    Identity,
    Quote,
    TextCheck,
)
from experiments.claims.quality import COLUMNS
from experiments.claims.together import ENVELOPE, rival
from experiments.profiles import PROFILES
from experiments.tables import catalogue
from experiments.tables.declare import Table
from experiments.tables.table1 import TABLE_1A
from experiments.tables.table4 import TABLE as TABLE_4

BY_ID = {claim.id: claim for claim in CLAIMS}
TEXTS = {check.id: check for check in TEXT_CHECKS}
CHECKS = [(claim, check) for claim in CLAIMS for check in claim.checks]
QUOTES = {claim.id: claim.quotes for claim in CLAIMS}
QUOTES |= {f"text: {text.id}": (text.one, text.other) for text in TEXT_CHECKS}

# What no audit of this paper may leave out.
ASKED = (
    "joint-beats-all",
    "iou-over-centerness",
    "quality-necessary",
    "qfl-boosts-others",
    "no-overhead-others",
    "beta-2-best",
    "general-no-worse",
    "general-over-gaussian",
    "dfl-adds",
    "robust-n",
    "small-delta",
    "orthogonal",
    "one-ap-over-atss",
    "no-overhead",
    "envelope",
    "iou-labels-above-0.4",
    "centerness-labels-smaller",
    "strongest-correlation",
    "background-quality-high",
)
# What was known of the text beforehand, by number: some are several checks.
LISTED = {
    1: ("table-3-marks",),
    2: ("lambdas",),
    3: ("normalisation",),
    4: ("delta-half",),
    5: ("ssd-backbone",),
    6: ("consistently-ap", "consistently-all-columns", "others-all-columns"),
    7: ("fair-comparison",),
    8: ("proof-at-the-ends", "minimum-at-beta-0"),
    9: ("table-1c-and-code",),
    10: ("centerness-much-smaller",),
}


def normal(text: str) -> str:
    """Without markup, and with one space where there is white space."""
    return re.sub(r"\s+", " ", text.replace("*", "")).strip()


@pytest.fixture(scope="module")
def paper(shared: Path) -> str:
    path = shared / "paper/gfl_paper.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not there: this test compares with the paper's text")
    return normal(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("quotes", QUOTES.values(), ids=QUOTES)
def test_quotes_are_the_papers_own_words(quotes: tuple[Quote, ...], paper: str) -> None:
    for quote in quotes:
        if quote.paper:
            assert normal(quote.text) in paper
        else:
            assert "," in quote.place  # whose, and where in it


def test_every_claim_can_be_told_apart_and_read() -> None:
    assert len(BY_ID) == len(CLAIMS) >= 35
    assert len(TEXTS) == len(TEXT_CHECKS)
    for claim in CLAIMS:
        assert re.fullmatch(r"[a-z0-9.-]+", claim.id)
        assert all((claim.quotes, claim.checks, claim.says, claim.refuted_by)), claim.id
        assert set(claim.blind) <= set(PROFILES)
        labels = [check.label for check in claim.checks]
        assert len(set(labels)) == len(labels), claim.id


def test_what_was_asked_for_is_there() -> None:
    assert set(ASKED) <= set(BY_ID)
    assert {id for ids in LISTED.values() for id in ids} <= set(TEXTS)


def test_bounds_leave_room_and_can_be_missed() -> None:
    for claim, check in CHECKS:
        places = [check.bounds]
        if not isinstance(check, Identity):
            places += [*([check.elsewhere] if check.elsewhere else []), *check.at.values()]
            assert check.at.keys() <= PROFILES.keys()
        for low, high in places:
            assert low < high, claim.id
            assert math.isfinite(low) or math.isfinite(high), claim.id


def test_contrasts_are_differences_of_printed_figures() -> None:
    for _, check in CHECKS:
        if isinstance(check, Contrast):
            assert sum(factor for factor, _ in check.terms) == pytest.approx(0)
            assert len({at.column for _, at in check.terms}) == 1
            assert all(at.published is not None for _, at in check.terms)


def test_all_counterparts_are_compared() -> None:
    assert len(BY_ID["joint-beats-all"].checks) == 10
    assert len(BY_ID["joint-beats-all-figures"].checks) == 10 * len(COLUMNS)
    assert len(BY_ID["iou-over-centerness"].checks) == 4
    assert len(BY_ID["beta-2-best"].checks) == 4


def test_every_timed_row_has_a_rival_as_fast() -> None:
    others = [row for row in TABLE_4.rows if row.name != "GFL" and row.published[0]]
    assert len(others) == len(ENVELOPE.checks) == 29
    for row in others:
        ours = rival(row)
        assert ours.name == "GFL"
        assert (ours.published[0] or 0) >= (row.published[0] or 0)


def test_a_figure_is_found_by_its_cell_and_column() -> None:
    assert At("table-1a", "joint w/ QFL/FCOS", "AP75").published == 41.9
    with pytest.raises(KeyError, match="no number FPS"):
        _ = At("table-1a", "joint w/ QFL/FCOS", "FPS").published


def test_findings_of_the_texts_own_checks() -> None:
    found = {id: text.finding for id, text in TEXTS.items()}
    # Arithmetic and cells that are printed twice.
    for id in found:
        if id.startswith(("same-run-", "fps-", "abstract-", "section-")):
            assert found[id] == "agree", id
    assert [found[id] for id in ("gains-0.6-0.8", "one-ap", "gains-add-up")] == ["agree"] * 3
    assert found["consistently-ap"] == found["best-of-all"] == "agree"
    assert found["consistently-all-columns"] == "disagree"
    assert "FCOS, AP75 -0.1" in TEXTS["consistently-all-columns"].why
    assert "FoveaBox, AP50 -0.1" in TEXTS["others-all-columns"].why
    assert found["lambdas"] == found["ssd-backbone"] == "disagree"
    assert found["table-3-marks"] == found["delta-half"] == "unclear"


def altered(table: Table, row: str, column: int, value: float) -> Table:
    rows = [
        replace(r, published=(*r.published[:column], value, *r.published[column + 1 :]))
        if r.key == row
        else r
        for r in table.rows
    ]
    return replace(table, rows=tuple(rows))


@pytest.fixture
def wrong_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """AP75 of ATSS with centerness, in Table 1(a) alone."""
    wrong = altered(TABLE_1A, "centerness-branch", 8, 42.3)
    monkeypatch.setitem(catalogue.TABLES, "table-1a", wrong)


@pytest.mark.usefixtures("wrong_digit")
def test_a_wrong_digit_is_found() -> None:
    quote = text_numbers.row("table-1a", "centerness-branch", "centerness-branch [26]")
    assert quote.text.endswith("39.2 57.4 42.3 23.0 42.8 51.1")  # which the paper does not have
    check: TextCheck = text_numbers.same_run(
        "same-run", quote, ("table-1a", "centerness-branch/ATSS"),
        quote, ("table-2a", "Dirac delta/ATSS"),
    )  # fmt: skip
    assert check.finding == "disagree"
    assert "AP75 42.3 and 42.2" in check.why


def test_a_sentence_with_another_figure_disagrees() -> None:
    sentence = Quote("GFL achieves 45.1% AP", "Abstract")
    number = At("table-4", "GFL R-101")
    check = text_numbers.says("id", sentence, sentence, [(number, ".1f")])
    assert check.finding == "disagree"
    assert "45.0" in check.why
