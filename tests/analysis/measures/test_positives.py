import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.measures import positives
from experiments import profiles
from gfl.errors import UserError

SMOKE = profiles.get("smoke")  # 64 px, strides 8, 16 and 32


def annotations(path: Path, boxes, side: int = 64, **changes) -> Path:
    """A COCO file of one image and boxes (x, y, w, h)."""
    listed = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3],
         "iscrowd": 0} | changes
        for i, box in enumerate(boxes, start=1)
    ]  # fmt: skip
    image = {"id": 1, "file_name": "a.jpg", "width": side, "height": side}
    content = {"images": [image], "categories": [{"id": 1, "name": "a"}], "annotations": listed}
    path.write_text(json.dumps(content))
    return path


def by_hand(found: positives.Positives) -> None:
    """Of a box of 32 px about (32, 32): the anchors of the nine nearest locations, 64 px wide,
    contain it, so that their IoU is 1/4; no other level's is above 1/16."""
    sides = sorted(map(tuple, found.targets.tolist()))
    expected = sorted((x, y, 4 - x, 4 - y) for x in (1.0, 2.0, 3.0) for y in (1.0, 2.0, 3.0))
    assert sides == expected
    values = sorted([1 / 3] * 4 + [math.sqrt(1 / 3)] * 4 + [1.0])
    np.testing.assert_allclose(sorted(found.centerness), values, rtol=1e-6)


def test_positives_of_one_box_by_hand(tmp_path):
    found = positives.of_annotations([annotations(tmp_path / "a.json", [[16, 16, 32, 32]])], SMOKE)
    by_hand(found)
    assert (found.images, found.objects, found.unmatched) == (1, 1, 0)
    frame = pd.DataFrame({"image_id": [1], "x1": [16], "y1": [16], "x2": [48], "y2": [48]})
    by_hand(positives.of_ground_truth(frame, SMOKE))


def test_a_larger_image_is_resized_first(tmp_path):
    path = annotations(tmp_path / "a.json", [[32, 32, 64, 64]], side=128)
    by_hand(positives.of_annotations([path], SMOKE))


def test_sizes_and_boxes_after_resizing_are_rounded_and_clipped():
    width, height, boxes = positives._resized(
        640, 480, np.array([[0.0, 0.0, 650.0, 240.0]]), profiles.COCO
    )
    assert (width, height) == (1067, 800)  # 640 * 800 / 480 = 1066.67
    assert boxes.tolist() == [[0, 0, 1067, 400]]
    assert positives._resized(1000, 400, np.zeros((1, 4)), profiles.COCO)[:2] == (1333, 533)


def test_crowds_and_boxes_that_mmdet_skips_count_for_nothing(tmp_path):
    good = annotations(tmp_path / "good.json", [[16, 16, 32, 32]])
    small = annotations(tmp_path / "small.json", [[16, 16, 0.5, 32], [70, 0, 8, 8]])
    crowd = annotations(tmp_path / "crowd.json", [[16, 16, 32, 32]], iscrowd=1)
    found = positives.of_annotations([good, small, crowd], SMOKE)
    by_hand(found)
    assert found.objects == 1
    with pytest.raises(UserError, match="contain no usable box"):
        positives.of_annotations([small, crowd], SMOKE)


def test_several_files_are_taken_together_whatever_the_batch(tmp_path, monkeypatch):
    files = [
        annotations(tmp_path / f"{i}.json", [[8 + i, 16, 30, 20 + i], [4, 4, 12 + i, 9]])
        for i in range(5)
    ]
    together = positives.of_annotations(files, SMOKE)
    monkeypatch.setattr(positives, "BATCH", 1)
    alone = positives.of_annotations(files, SMOKE)
    np.testing.assert_array_equal(together.targets, alone.targets)
    np.testing.assert_array_equal(together.centerness, alone.centerness)
    assert together.objects == 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not COCO: a JSON list"),
        ('{"images": []}', "has no list of annotations, categories"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, text, why):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(UserError, match=why) as raised:
        positives.of_annotations([path], SMOKE)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        positives.of_annotations([tmp_path / "none.json"], SMOKE)


def test_an_unknown_category_or_image_is_refused(tmp_path):
    path = annotations(tmp_path / "a.json", [[16, 16, 32, 32]], category_id=7)
    with pytest.raises(UserError, match="annotation of an unknown category"):
        positives.of_annotations([path], SMOKE)


def test_a_profile_without_embedded_data_has_no_ground_truth():
    with pytest.raises(AssertionError):
        positives.of_ground_truth(pd.DataFrame(), replace(SMOKE, dataset=None))
