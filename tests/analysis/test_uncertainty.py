import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from analysis.uncertainty import Difference, Figure, figure, paired

APS = st.lists(
    st.tuples(st.floats(0, 100, width=32), st.floats(0, 100, width=32)), min_size=2, max_size=6
)


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(map(float, values)))


def test_a_figure_is_the_mean_and_the_sample_deviation() -> None:
    assert figure({0: 30.0, 3: 31.0, 7: 35.0}) == Figure(32.0, math.sqrt(14 / 2), (0, 3, 7))
    assert figure({5: 30.0}) == Figure(30.0, None, (5,))
    assert figure({}) is None


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
    assert paired({0: 31.0, 1: 50.0}, {0: 30.5, 2: 9.0}) == Difference(0.5, None, (0,))
    assert paired({0: 31.0}, {1: 30.0}) is None


def test_it_is_printed_with_its_interval() -> None:
    clear, unclear = Difference(0.8, (0.1, 1.5), (0, 1)), Difference(0.8, (-1.3, 2.9), (0, 1))
    assert (clear.text, clear.is_clear) == ("+0.8 [+0.1, +1.5]", True)
    assert (unclear.text, unclear.is_clear) == ("+0.8 [-1.3, +2.9]", False)
    assert ((-clear).text, (-clear).is_clear) == ("-0.8 [-1.5, -0.1]", True)
    single = Difference(0.7, None, (0,))
    assert (single.text, single.is_clear, (-single).text) == ("+0.7", False, "-0.7")
