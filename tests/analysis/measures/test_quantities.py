"""Measured quantities by hand, and their replicates against doing it the long way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import record
from scipy.stats import spearmanr

from analysis.errors.tide import ap
from analysis.library import Library
from analysis.measures.distributions import nearest_mass, widths
from analysis.measures.errors import ap50, matches_of
from analysis.measures.evidence import Evidence
from analysis.measures.kept import QUANTITIES, find
from analysis.measures.labels import effect_size
from analysis.measures.quantity import (
    Replicated,
    Seen,
    combined,
    custom_quantity,
    mean,
    of_sums,
    of_weights,
)
from analysis.measures.scores import overtakes, unruly
from analysis.stats.correction import of_check
from analysis.stats.statistics import rank_correlation
from experiments.claims import CLAIMS
from experiments.claims.declare import Measured
from experiments.named import DFL, GENERAL, GFL
from experiments.profiles import LAPTOP
from gfl.experiment import Experiment
from gfl.predictions.error_kinds import KINDS, Sorted
from gfl.predictions.overlaps import Found, Truth
from gfl.records.record import Store
from gfl.shapes.embedded import ShapesSpec

FEW = 6  # images


@pytest.fixture
def few(tmp_path: Path) -> Evidence:
    """No runs; six validation images."""
    data = ShapesSpec(image_size=64, train=2, val=FEW)
    library = Library(Store(tmp_path / "runs", tmp_path / "results"), "reference")
    return Evidence(library, replace(LAPTOP, dataset=data), {}, {})


def test_claims_name_quantities_that_are_declared_and_each_is_claimed() -> None:
    named = {c.quantity for claim in CLAIMS for c in claim.checks if isinstance(c, Measured)}
    for name in sorted(named):
        assert find(name).name == name  # an unknown one is answered with the nearest
    assert named == set(QUANTITIES)


def test_an_unknown_quantity_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"did you mean 'iou-label-above-0\.4'"):
        find("iou-label-above-0.5")


def test_a_name_is_declared_once() -> None:
    first = find("joint-scores-apart")
    with pytest.raises(ValueError, match="has a quantity 'joint-scores-apart'"):
        custom_quantity("joint-scores-apart")(lambda _: pytest.fail("never measured"))
    assert find("joint-scores-apart") is first


def test_a_quantity_says_whose_runs_it_is_measured_on() -> None:
    difference = find("nearest-mass-dfl-minus-general")
    assert difference.experiments == (DFL, GENERAL)
    assert difference.module == "analysis.measures.distributions"
    assert find("overhead-gfl").experiments == ()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=4, max_size=12
    )
)
def test_a_weighted_rank_correlation_is_that_of_repeated_rows(
    rows: list[tuple[int, int, int]],
) -> None:
    x, y, weights = (np.array(column) for column in zip(*rows, strict=True))
    repeated = np.repeat(x, weights), np.repeat(y, weights)
    if any(len(set(side)) < 2 for side in repeated):
        assert np.isnan(rank_correlation(x, y)(weights))
        return
    expected = spearmanr(*repeated)[0]
    assert rank_correlation(x, y)(weights) == pytest.approx(expected, abs=1e-12)


def test_replicates_weigh_a_row_as_its_image_is_drawn(few: Evidence) -> None:
    image_id = np.array([1, 1, 2, 4, 6, 6, 6])
    hits = np.array([1, 0, 1, 1, 0, 1, 1], bool)
    value, replicates = mean(few, image_id, hits)
    assert value == pytest.approx(5 / 7)
    for weights, replicate in zip(few.weights[:50], replicates[:50], strict=True):
        rows = np.repeat(hits, weights[image_id - 1])
        assert replicate == pytest.approx(rows.mean() if len(rows) else np.nan, nan_ok=True)
    slow = of_weights(few, image_id, lambda w: float((w * hits).sum() / max(w.sum(), 1)))
    assert slow[0] == pytest.approx(value)


def test_an_effect_size_by_hand(few: Evidence) -> None:
    """Groups 1, 3 and 0, 2: means 2 and 1, variances 1 and 1."""
    one, other = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    columns = [np.ones(2), one, one**2, other, other**2]
    assert of_sums(few, np.array([1, 2]), columns, effect_size)[0] == pytest.approx(1.0)


def test_a_distribution_on_one_bin_has_no_width_at_all() -> None:
    one, two = np.eye(17)[:, None], np.array([[[0.36, 0.64, *[0.0] * 15]]])
    assert (widths(one, 0.3) == 0).all()
    assert widths(two, 0.5) == pytest.approx(0.5 * 0.48)


def test_unruly_negatives_by_hand() -> None:
    """Above the median positive, 0.5, are two of three negatives; two positives."""
    predicted = np.array([0.4, 0.6, 0.7, 0.55, 0.1])
    positive = np.array([True, True, False, False, False])
    count = unruly(predicted, positive)
    assert count(np.ones(5, int)) == pytest.approx(2 / 2)
    assert count(np.array([1, 0, 1, 1, 3])) == pytest.approx(2 / 1)  # the median is now 0.4
    assert count(np.array([0, 2, 1, 1, 0])) == pytest.approx(1 / 2)  # now 0.6
    assert np.isnan(count(np.array([0, 0, 1, 1, 1])))


def test_background_that_overtakes_a_positive_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "image_id": [1, 1, 1, 2, 2],
            "category_id": [3, 3, 3, 3, 3],
            "positive": [True, False, False, True, False],
            "class_score": [0.25, 0.2, 0.2, 0.5, 0.2],
            "score": [0.10, 0.15, 0.05, 0.4, 0.19],
            "iou": [0.8, 0.0, 0.0, 0.8, 0.0],
        }
    )
    # The first passes its image's positive, the second does not, the third's is too far ahead.
    assert overtakes(frame).tolist() == [True, False, False]
    other = frame.assign(category_id=[3, 4, 3, 3, 3])  # NMS never compares two categories
    assert not overtakes(other).any()
    faint = frame.assign(class_score=[0.05, 0.04, 0.2, 0.5, 0.2])  # nor has it the second
    assert not overtakes(faint).any()
    frame.loc[1, "iou"] = 0.3  # near an object it is no background
    assert overtakes(frame).tolist() == [False, False]


def test_the_mass_beside_a_target_by_hand() -> None:
    p = np.array([[0.1, 0.2, 0.3, 0.4]])
    assert nearest_mass(p, np.array([1.5]), 1.0) == pytest.approx([0.5])
    assert nearest_mass(p, np.array([2.0]), 1.0) == pytest.approx([0.7])
    assert nearest_mass(p, np.array([9.0]), 1.0) == pytest.approx([0.7])  # the last two
    assert nearest_mass(p, np.array([1.5]), 2.0) == pytest.approx([0.3])


def test_what_is_seen_is_there_and_what_is_not_may_be() -> None:
    there = of_check(Seen(0.93), (0.9, 1.0))
    assert (there.holds, there.fails) == (0.0, 1.0)
    unseen = of_check(Seen(0.0), (0.0, np.inf))
    assert (unseen.holds, unseen.fails) == (1.0, 1.0)


def test_one_training_decides_nothing_and_two_do(few: Evidence) -> None:
    """Of one seed another seed's quantity is not known, however sure the images are."""
    rows = replace(few, records={GFL: {0: record(), 1: record()}})

    def of_run(evidence: Evidence, experiment: Experiment, seed: int) -> Replicated:
        return 0.9 + seed / 100, np.full(len(evidence.weights), 0.9)

    one, two = (combined(rows, [(1.0, GFL, of_run)], seeds, "") for seeds in ((0,), (0, 1)))
    assert "one training" in one.lacking
    assert not two.lacking
    assert two.interval is not None
    assert two.interval[1] - two.interval[0] > 0.1  # t of one degree of freedom


def test_ap50_of_reweighted_images_is_that_of_the_errors() -> None:
    """With weights of 1, for every kind's oracle; with one image left out, of the others alone."""
    rng = np.random.default_rng(0)
    images = np.arange(1, FEW + 1)
    truth = Truth(
        np.repeat(images, 3), rng.integers(1, 3, 3 * FEW), _boxes(rng, 3 * FEW),
        np.full(3 * FEW, 500.0), np.zeros(3 * FEW, bool),
    )  # fmt: skip
    image, category = np.repeat(images, 8), rng.integers(1, 3, 8 * FEW)
    box = np.concatenate([truth.box, _boxes(rng, 5 * FEW)])[rng.permutation(8 * FEW)]
    found = Found.of(image, category, box, rng.random(8 * FEW))
    judged = Sorted.of(truth, found)
    weights = np.ones((1, FEW), int)
    for kind in (None, *KINDS):
        value, replicates = ap50(matches_of(judged, images, kind), weights)
        assert value == pytest.approx(ap(judged, kind), abs=1e-9)
        assert replicates == pytest.approx([value])


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.concatenate([rng.uniform(0, 12, (count, 2)), rng.uniform(6, 12, (count, 2))], 1)
