import numpy as np
import pytest

from analysis.figures import fig9
from analysis.figures.fig9 import histogram
from analysis.measures import positives
from experiments import profiles


def test_shares_mean_and_deviation_of_labels():
    found = histogram("IoU", np.array([0.0, 0.1, 0.39, 0.4, 1.0]))
    assert found.positives.sum() == 5
    assert found.share_percent.sum() == pytest.approx(100)
    assert found["below_0.4_percent"].unique() == pytest.approx([60])
    assert found["mean"].unique() == pytest.approx([0.378])
    assert found["std"].unique() == pytest.approx([np.std([0.0, 0.1, 0.39, 0.4, 1.0])])
    assert found.positives.iloc[0] == 1
    assert found.positives.iloc[-1] == 1  # the last bin has its end


def test_labels_are_those_of_positives_alone(library, smoke):
    drawn = fig9.fig9.drawn(library, smoke)
    counts = drawn.numbers.groupby("label").positives.sum()
    assert dict(counts) == {"IoU": 12, "centerness": 12}  # three of the locations are background
    means = drawn.numbers.groupby("label")["mean"].first()
    assert means["centerness"] == pytest.approx((1.0 + 3.6 + 2.0) / 12)
    assert means["IoU"] == pytest.approx((3.0 + 2.0 + 2.8) / 12)


def test_centerness_on_real_images_is_the_papers(shared, words_of, monkeypatch):
    files = sorted((shared / "data/coco-tiny/annotations").glob("instances_*.json"))
    found = positives.of_annotations(files, profiles.COCO)
    assert found.images == 160
    assert found.centerness.mean() == pytest.approx(0.64, abs=0.01)  # Fig. 9 prints .64 and .18
    assert found.centerness.std() == pytest.approx(0.18, abs=0.01)
    assert (found.centerness < 0.4).mean() == pytest.approx(0.1, abs=0.01)
    assert np.median(found.targets) == pytest.approx(3.65, abs=0.1)  # measured on 416 images
    monkeypatch.setattr(positives, "of_annotations", lambda *given: found)
    drawn = fig9.fig9.of_annotations(files)
    assert "centerness: mean .636, std .177" in words_of(drawn.figure)
    assert drawn.numbers.label.unique() == ["centerness"]
