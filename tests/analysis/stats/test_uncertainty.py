import math

import coco_drawn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp, ttest_rel

from analysis.stats.resampling import replicate
from analysis.stats.uncertainty import (
    Estimate,
    Noise,
    SeedMean,
    contrast,
    paired,
    seed_mean,
    seed_noise,
)
from analysis.text import signed
from gfl.predictions.matching import match
from gfl.records.record import METRICS

APS = st.lists(
    st.tuples(st.floats(0, 100, width=32), st.floats(0, 100, width=32)), min_size=2, max_size=6
)


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(map(float, values)))


def test_a_figure_is_the_mean_and_the_sample_deviation() -> None:
    assert seed_mean({0: 30.0, 3: 31.0, 7: 35.0}) == SeedMean(32.0, math.sqrt(14 / 2), (0, 3, 7))
    assert seed_mean({5: 30.0}) == SeedMean(30.0, None, (5,))
    assert seed_mean({}) is None


def test_an_interval_is_students_t_by_hand() -> None:
    # Two pairs: t(0.975) of one degree of freedom is tan(0.475 π); s_d / √n = |1 - 0.5| / 2.
    found = paired({0: 31.0, 1: 33.5}, {0: 30.0, 1: 33.0})
    assert found is not None
    assert found.interval is not None
    half = math.tan(0.475 * math.pi) * 0.25
    assert found.interval == pytest.approx((0.75 - half, 0.75 + half))
    # Three: t(p) of two is (2p - 1) / √(2p (1 - p)); the differences 0, 1, 2 have s_d = 1.
    half = 0.95 / math.sqrt(2 * 0.975 * 0.025) / math.sqrt(3)
    found = paired({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 1.0, 2: 1.0})
    assert found is not None
    assert found.interval == pytest.approx((1 - half, 1 + half))


@settings(deadline=None)
@given(APS)
def test_an_interval_is_that_of_scipys_paired_test(aps: list[tuple[float, float]]) -> None:
    ours, base = np.array(aps, dtype=float).T
    if np.std(ours - base) < 1e-6:  # where scipy warns of its own rounding
        return
    found = paired(by_seed(ours), by_seed(base))
    assert found is not None
    expected = ttest_rel(ours, base).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


def test_an_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        shared = rng.normal(scale=3.0, size=3)  # of a seed, in both rows: pairing takes it out
        found = paired(by_seed(shared + rng.normal(1.0, size=3)), by_seed(shared))
        assert found is not None
        assert found.interval is not None
        held += found.interval[0] <= 1.0 <= found.interval[1]
    assert 930 <= held <= 970


def test_one_pair_has_no_interval() -> None:
    assert paired({0: 31.0, 1: 50.0}, {0: 30.5, 2: 9.0}) == Estimate(0.5, None, (0,))
    assert paired({0: 31.0}, {1: 30.0}) is None


def printed(found: Estimate) -> str:
    return signed(found.value, found.interval)


def test_it_is_printed_with_its_interval() -> None:
    clear, unclear = Estimate(0.8, (0.1, 1.5), (0, 1)), Estimate(0.8, (-1.3, 2.9), (0, 1))
    assert (printed(clear), clear.is_clear) == ("+0.8 [+0.1, +1.5]", True)
    assert (printed(unclear), unclear.is_clear) == ("+0.8 [-1.3, +2.9]", False)
    assert (printed(-clear), (-clear).is_clear) == ("-0.8 [-1.5, -0.1]", True)
    single = Estimate(0.7, None, (0,))
    assert (printed(single), single.is_clear, printed(-single)) == ("+0.7", False, "-0.7")
    assert printed(Estimate(-0.01, (-0.02, 0.04), (0, 1))) == "+0.0 [+0.0, +0.0]"
    assert math.isnan(single.low)
    assert math.isnan(single.high)


def test_an_estimate_without_variances_is_not_tested() -> None:
    with pytest.raises(ValueError, match="without variances"):
        Estimate(0.7, (0.5, 0.9)).p_above(0.0)


def test_replicates_are_pycocotools_figures_and_those_of_the_same_draw() -> None:
    dataset, found = many_images()
    first, again, other = (
        replicate(match(dataset, found), np.random.default_rng(seed), count=20)
        for seed in (0, 0, 1)
    )
    np.testing.assert_allclose(first.metrics, 100 * coco_drawn.judged(dataset, found), atol=1e-10)
    assert first.resampled.shape == (20, 12)
    assert first.draw == again.draw != other.draw
    np.testing.assert_array_equal(first.resampled, again.resampled)
    # The same generator, the same interval.
    ours, same = (
        replicate(match(dataset, found[::2]), np.random.default_rng(0), 20).estimates()["AP50"]
        for _ in range(2)
    )
    assert ours == same
    assert ours.interval[0] < ours.value < ours.interval[1]
    # No object is large: what has no figure has no estimate.
    assert first.estimates().keys() == set(METRICS) - {"APL", "ARL"}


def many_images():
    dataset = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 99, "height": 99} for i in range(1, 41)
        ],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, side, side],
             "area": side * side, "iscrowd": 0}
            for i in range(1, 41)
            for side in [20 + i]
        ],
    }  # fmt: skip
    found = [
        {"image_id": i, "category_id": 1, "bbox": [i % 7, 0, 20 + i, 20 + i], "score": i / 50}
        for i in range(1, 41)
    ]
    return dataset, found


def test_a_paired_difference_of_images_takes_row_by_row() -> None:
    shared = np.random.default_rng(0).normal(size=400)  # of the images, in both runs
    ours, base = shared + np.tile([0.0, 0.2], 200), shared
    estimate = contrast([1.0, -1.0], [{0: (5.0, ours)}, {0: (5.0, base)}])
    assert estimate is not None
    assert (estimate.value, estimate.seeds, estimate.variance_seeds) == (0.0, (0,), None)
    assert estimate.variance_images == pytest.approx(0.01 * 400 / 399)
    assert estimate.freedom == 399
    assert estimate.interval[1] == pytest.approx(1.9659 * math.sqrt(0.01 * 400 / 399), rel=1e-4)


def test_the_tails_are_students_by_hand() -> None:
    # With one degree of freedom, Cauchy's distribution: P(t > 1) is a quarter.
    estimate = Estimate.student(5.0, (0, 1), 3.0, 1.0, 1.0)
    assert estimate.error == 2.0
    assert estimate.p_above(3.0) == pytest.approx(0.25)
    assert estimate.p_below(3.0) == pytest.approx(0.75)
    assert estimate.p_below(7.0) == pytest.approx(0.25)
    assert (estimate.p_above(-math.inf), estimate.p_below(math.inf)) == (0.0, 0.0)
    assert (estimate.p_above(math.inf), estimate.p_below(-math.inf)) == (1.0, 1.0)
    half = math.tan(0.475 * math.pi) * 2
    assert estimate.interval == pytest.approx((5 - half, 5 + half))
    # A bound at an end of the 95 % interval is refused at 2.5 %.
    assert estimate.p_above(estimate.interval[0]) == pytest.approx(0.025)


def test_no_variance_leaves_no_doubt() -> None:
    sure = Estimate.student(1.0, (0,), 0.0, 0.0, 9.0)
    assert sure.interval == (1.0, 1.0)
    assert (sure.p_above(0.0), sure.p_below(0.0), sure.p_above(1.0)) == (0.0, 1.0, 1.0)


def test_pooled_noise_is_of_the_rows_that_have_several_seeds() -> None:
    # (0.5 + 2) / (1 + 2): of 1, 2 and of 3, 4, 5; a single seed says nothing.
    found = seed_noise([{0: 1.0, 1: 2.0}, {0: 3.0, 1: 4.0, 2: 5.0}, {0: 9.0}])
    assert found == Noise(math.sqrt(2.5 / 3), 3)
    assert seed_noise([{0: 1.0}, {}]) is None


def by_seeds(values, samples):
    return {seed: (value, np.array(samples)) for seed, value in enumerate(values)}


def test_a_contrast_by_hand() -> None:
    ours = by_seeds([3.0, 5.0], [3.0, 4.0, 5.0])
    base = by_seeds([1.0, 1.0], [1.0, 1.0, 1.0])
    found = contrast([1.0, -1.0], [ours, base])
    assert found is not None
    # d = 2, 4: mean 3, s² = 2, over two seeds 1; the resamples 2, 3, 4 have a variance of 1.
    assert (found.value, found.seeds) == (3.0, (0, 1))
    assert (found.variance_seeds, found.variance_images) == pytest.approx((1.0, 1.0))
    # Satterthwaite: (1 + 1)² / (1²/1 + 1²/2).
    assert found.freedom == pytest.approx(8 / 3)
    pooled = contrast([1.0, -2.0], [ours, base], Noise(0.5, 10))
    assert pooled is not None
    # (1² + 2²) · 0.5² / 2 seeds, with 10 degrees of freedom.
    assert (pooled.value, pooled.variance_seeds) == pytest.approx((2.0, 0.625))
    assert pooled.freedom == pytest.approx(1.625**2 / (0.625**2 / 10 + 1 / 2))


def test_a_contrast_takes_the_seeds_that_all_terms_have() -> None:
    ours, base = by_seeds([3.0, 5.0, 7.0], [0.0, 1.0]), by_seeds([1.0], [0.0, 1.0])
    found = contrast([1.0, -1.0], [ours, base])
    assert found is not None
    assert (found.seeds, found.value, found.variance_seeds) == ((0,), 2.0, None)
    assert (found.variance_images, found.interval, found.freedom) == (0.0, (2.0, 2.0), 1.0)
    noisy = contrast([1.0, -1.0], [ours, base], Noise(0.5, 4))
    assert noisy is not None
    assert (noisy.variance_seeds, noisy.freedom) == pytest.approx((0.5, 4))
    assert contrast([1.0, -1.0], [ours, {7: base[0]}]) is None
    with pytest.raises(ValueError, match="1 factors for 2 terms"):
        contrast([1.0], [ours, base])


def test_without_noise_of_images_a_contrast_is_the_paired_interval() -> None:
    rng = np.random.default_rng(0)
    ours, base = rng.normal(size=(2, 5))
    found = contrast([1.0, -1.0], [by_seeds(side, np.zeros(50)) for side in (ours, base)])
    expected = paired(by_seed(ours), by_seed(base))
    assert found is not None
    assert expected is not None
    assert found.interval == pytest.approx(expected.interval)
    assert found.p_above(0.1) == pytest.approx(
        ttest_1samp(ours - base, 0.1, alternative="greater").pvalue
    )


def test_a_combined_interval_holds_the_true_value_at_least_as_often_as_it_says() -> None:
    """Crossed effects of seeds and images, where all is known: x_si = a_s + b_i + e_si."""
    rng = np.random.default_rng(0)
    images, seeds, tries, resampled = 50, 3, 600, 200
    held = {"pooled": 0, "own": 0, "images alone": 0}
    for _ in range(tries):
        x = rng.normal(scale=0.25, size=(seeds, 1)) + rng.normal(size=images)
        x = x + rng.normal(scale=0.5, size=(seeds, images))
        weights = rng.multinomial(images, np.full(images, 1 / images), size=resampled) / images
        run = {s: (float(x[s].mean()), weights @ x[s]) for s in range(seeds)}
        rows = rng.normal(scale=math.hypot(0.25, 0.5 / math.sqrt(images)), size=(8, 3))
        for name, noise in (("pooled", seed_noise(map(by_seed, rows))), ("own", None)):
            found = contrast([1.0], [run], noise)
            assert found is not None
            held[name] += found.interval[0] <= 0 <= found.interval[1]
        half = norm.ppf(0.975) * math.sqrt(found.variance_images)
        held["images alone"] += abs(found.value) <= half
    # Three binomial standard deviations of 600 tries at 95 % are 2.7 points.
    assert 0.92 <= held["pooled"] / tries <= 0.985
    assert held["own"] / tries >= 0.92
    assert held["images alone"] / tries < 0.9  # what leaving out the seeds would claim
