import math

import numpy as np
import pytest

from analysis.figures import fig5
from analysis.measures.one_mean import dfl, least_dfl, one_mean
from experiments.tables.table1 import TABLE_1C


def test_qfl_is_0_where_the_estimate_is_the_label_and_cross_entropy_never(library, smoke):
    numbers = fig5.fig5a.drawn(library, smoke).numbers
    assert set(numbers.beta) == {row.experiment.beta for row in TABLE_1C.rows}
    at_label = numbers[np.isclose(numbers.sigma, 0.5)].set_index("beta").loss_nats
    assert at_label.pop(0.0) == pytest.approx(math.log(2))
    assert (at_label == 0).all()
    assert len(at_label) == 4


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 2.5, 4.0])
def test_qfl_at_a_quarter_by_hand(beta):
    numbers = fig5.qfl([beta])
    (loss,) = numbers[np.isclose(numbers.sigma, 0.25)].loss_nats
    assert loss == pytest.approx(0.25**beta * -(math.log(0.75) + math.log(0.25)) / 2)
    mirrored = numbers.loss_nats.to_numpy()
    np.testing.assert_allclose(mirrored, mirrored[::-1], atol=1e-12)


def test_dfls_least_is_the_linear_split_and_all_have_one_mean(library, smoke):
    split = np.full(17, 1e-12)
    split[6], split[7] = 0.7, 0.3  # 6.3 lies .3 above bin 6
    assert dfl(split / split.sum()) == pytest.approx(least_dfl())
    assert least_dfl() == pytest.approx(-0.7 * math.log(0.7) - 0.3 * math.log(0.3))
    numbers = fig5.fig5b.drawn(library, smoke).numbers
    for _, one in numbers.groupby("distribution"):
        assert one.probability.sum() == pytest.approx(1)
        assert one.probability @ one.x_strides == pytest.approx(6.3)
    losses = numbers.groupby("distribution").dfl_nats.first()
    assert least_dfl() < losses["narrow"] < losses["wide"] < losses["two-peaked"]


def test_dfl_of_what_is_drawn_is_eq_6(library, smoke):
    numbers = fig5.fig5b.drawn(library, smoke).numbers
    for _, one in numbers.groupby("distribution"):
        p = one.set_index("x_strides").probability
        by_hand = -0.7 * math.log(p[6]) - 0.3 * math.log(p[7])
        assert one.dfl_nats.iloc[0] == pytest.approx(by_hand)


def test_two_peaked_has_two_peaks():
    p = one_mean()["two-peaked"]
    inner = p[1:-1]
    assert ((inner > p[:-2]) & (inner > p[2:])).sum() == 2
    assert p[6] + p[7] < 0.01  # and next to nothing at the mean


def test_share_above_each_n_is_a_direct_count():
    targets = np.array([1.0, 12.0, 12.5, 13.0, 14.5, 16.0, 17.0, 19.0])
    found = fig5.above(targets, fig5.NS)
    assert list(found.from_strides) == [12, 14, 16, 18]
    assert list(found.targets) == [6, 4, 2, 1]
    assert list(found.share_percent) == [75, 50, 25, 12.5]
    assert fig5.histogram(targets).targets.sum() == len(targets)


def test_targets_of_one_box_by_hand(library, smoke):
    # A box of 32 px about (32, 32): its nine positives lie 8 px apart, sides 1, 2 or 3 strides off.
    numbers = fig5.fig5c.drawn(library, smoke).numbers
    bars = numbers[(numbers.panel == "histogram") & (numbers.targets > 0)]
    assert dict(zip(bars.from_strides, bars.targets, strict=True)) == {1: 12, 2: 12, 3: 12}
    assert (numbers[numbers.panel == "above n"].targets == 0).all()
