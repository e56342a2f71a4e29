"""The page of both scales, and the properties of their data that explain it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.claims import explanations, render, scales
from analysis.claims.explanations import EXPLANATIONS, Explanation
from analysis.claims.verdict_on_paper import VerdictOnPaper
from analysis.claims.verdict_on_runs import VerdictOnRuns
from analysis.claims.verdicts import AtProfile, Verdicts
from analysis.measures.quantity import Measurement
from analysis.measures.scale import SCALE, deviation, lost_by_ranking
from experiments.claims import CLAIMS
from experiments.profiles import LAPTOP, PHOTOS

ROOT = Path(__file__).parents[3]
CLAIM = CLAIMS[0]


def _frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"image_id": [1, 1, 1, 2, 2], "gt_id": [7, 7, 7, 9, 9], **columns})


def test_the_iou_lost_by_ranking_is_that_of_the_best_box_less_that_of_the_highest_score() -> None:
    """By hand: of equals the first counts; an object whose best box ranks first loses nothing."""
    frame = _frame(score=[0.9, 0.9, 0.1, 0.2, 0.3], iou=[0.5, 0.6, 0.8, 0.4, 0.7])
    lost = lost_by_ranking(frame.sample(frac=1, random_state=0).sort_index())
    assert lost.lost.to_dict() == pytest.approx({7: 0.3, 9: 0.0})
    assert lost.image_id.to_dict() == {7: 1, 9: 2}


def test_a_row_of_the_frame_is_no_row_of_its_index() -> None:
    """Positives are selected from all locations: their index has gaps, and repeats nothing."""
    frame = _frame(score=[0.1, 0.9, 0.1, 0.2, 0.3], iou=[0.5, 0.6, 0.8, 0.4, 0.7])
    frame.index = [40, 2, 77, 5, 0]
    assert lost_by_ranking(frame).lost.to_dict() == pytest.approx({7: 0.2, 9: 0.0})


def test_deviations_are_from_an_objects_own_mean() -> None:
    frame = _frame(iou=[0.5, 0.6, 0.7, 0.2, 0.4])
    assert deviation(frame, "iou") == pytest.approx([-0.1, 0, 0.1, -0.1, 0.1])


def _trial(shapes: str, photographs: str) -> Verdicts:
    measured = Measurement(0.8741, (0.87, 0.88), None, (), (0,), "positives")
    profiles = {}
    for profile, verdict, at in (
        (LAPTOP, shapes, {"iou": measured}),
        (PHOTOS, photographs, {}),
    ):
        tried = {CLAIM.id: VerdictOnRuns(verdict, "", ())}  # pyright: ignore[reportArgumentType]
        profiles[profile.name] = AtProfile(profile, {}, {}, tried, at)
    return Verdicts(
        "reference", (CLAIM,), (), {CLAIM.id: VerdictOnPaper("holds", "", ())}, profiles
    )


def test_an_explanation_stands_only_beside_the_verdicts_it_was_written_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why = Explanation("supported", "refuted", "The boxes' IoU: {iou}.")
    monkeypatch.setitem(explanations.EXPLANATIONS, CLAIM.id, why)  # pyright: ignore[reportArgumentType]
    text = scales.markdown(_trial("supported", "refuted"))
    head = f"**{CLAIM.id}**: supported on shapes, refuted on photographs."
    assert f"{head} The boxes' IoU: 0.874 on shapes, — on photographs.\n" in text
    assert "| IoU of a positive's box | positives | 0.874 [0.870, 0.880] | — |" in text
    other = scales.markdown(_trial("supported", "within noise"))
    assert f"supported on shapes, within noise on photographs. {scales.UNWRITTEN}" in other


def test_what_one_scale_has_not_tested_is_no_disagreement() -> None:
    assert "On no claim that both tested." in scales.markdown(_trial("supported", "untested"))
    assert "On no claim that both tested." in scales.markdown(_trial("refuted", "refuted"))


def test_the_page_is_made_where_there_are_both() -> None:
    made = _trial("supported", "refuted")
    assert "scales.md" in render.files(made)
    alone = Verdicts(
        "reference", made.claims, (), made.on_paper, {"laptop": made.profiles["laptop"]}
    )
    assert "scales.md" not in render.files(alone)


def test_explanations_name_claims_and_properties_that_there_are() -> None:
    assert set(EXPLANATIONS) <= {claim.id for claim in CLAIMS}
    for why in EXPLANATIONS.values():
        assert why.text.format_map(dict.fromkeys(SCALE, "1")) != ""


def test_every_committed_disagreement_is_explained() -> None:
    text = (ROOT / "results" / "scales.md").read_text(encoding="utf-8")
    assert "## Where the two scales disagree" in text
    assert scales.UNWRITTEN not in text


def test_numbers_are_rounded_and_never_a_negative_zero() -> None:
    assert scales.value(Measurement(-0.00001, None, None, (), (), ""), 2) == "0.00"
    assert scales.value(None, 2) == "—"
