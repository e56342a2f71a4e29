"""The mirrored copy at test, for CornerNet, CentripetalNet and CenterNet alike."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from corner_models import METHODS, SIZE, batch, build, published, small, varied
from mmdet.models.detectors import CornerNet
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from gfl.systems.mirrored import mirrored_meta, unmirrored, window

systems = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def central_regions_are_whole_boxes(monkeypatch) -> None:
    """So that CenterNet, too, finds much in noise; test_centernet.py has the triplet test."""
    monkeypatch.setattr("gfl.systems.centernet.THIRDS", 1)
    monkeypatch.setattr("gfl.systems.centernet.FIFTHS", 1)


def detector(method: str, stacks: int = 1) -> Any:
    """Return a detector of one class with weights that find objects in noise."""
    model = varied(build(small(METHODS[method], stacks, classes=1))).eval()
    model.bbox_head.test_cfg["distance_threshold"] = 1e9
    return model


def flipped(detections: Any, width: float) -> Any:
    x1, y1, x2, y2 = detections.bboxes.unbind(-1)
    return torch.stack((width - x2, y1, width - x1, y2), -1)


def in_order(boxes: Any, scores: Any) -> Any:
    """Return boxes with scores, px and probabilities, sorted by score and then place."""
    rows = torch.cat([boxes, scores[:, None]], 1).double().numpy()
    keys = np.round(rows, 3)
    return torch.from_numpy(rows[np.lexsort((*keys[:, :4].T, -keys[:, 4]))])


def mirrored_alike(straight: Any, turned: Any, width: float, method: str) -> None:
    """Assert that an image's detections are those of its mirror image, mirrored."""
    assert len(straight) == len(turned) > 5
    a, b = straight.bboxes, flipped(turned, width)
    one, other = straight.scores, turned.scores
    if method == "centernet":  # whose scores depend on which copy's centers come first
        one, other = torch.zeros_like(one), torch.zeros_like(other)
    torch.testing.assert_close(in_order(a, one), in_order(b, other), rtol=1e-3, atol=2e-3)


def unsuppressed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CenterNet return its confirmed pairs: their suppression depends on their scores."""
    if method == "centernet":
        monkeypatch.setattr("gfl.systems.mirrored.suppressed", lambda _, candidates: candidates)


@torch.no_grad()
@systems
def test_a_mirrored_image_has_mirrored_detections(method, monkeypatch):
    """Both give the network the same pair of images."""
    unsuppressed(method, monkeypatch)
    model = detector(method)
    images, one = batch((1, 2), classes=1)
    _, other = batch((1, 2), classes=1)
    straight = model.predict(images, one)
    turned = model.predict(images.flip(-1), other)
    for a, b in zip(straight, turned, strict=True):
        mirrored_alike(a.pred_instances, b.pred_instances, SIZE, method)


@torch.no_grad()
@systems
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_batch_of_two_is_two_of_one(method, mirrored):
    model = detector(method)
    model.mirrored = mirrored
    images, together = batch((1, 0), classes=1)
    _, apart = batch((1, 0), classes=1)
    both = model.predict(images, together)
    assert len(both) == 2
    for i in (0, 1):
        alone = model.predict(images[i : i + 1], apart[i : i + 1])
        assert len(alone) == 1
        a, b = both[i].pred_instances, alone[0].pred_instances
        assert len(a) == len(b) > 0
        torch.testing.assert_close(
            in_order(a.bboxes, a.scores), in_order(b.bboxes, b.scores), rtol=1e-3, atol=2e-3
        )


@torch.no_grad()
@systems
def test_without_the_copy_it_is_mmdets_prediction(method):
    model = detector(method)
    model.mirrored = False
    images, one = batch((1,), classes=1)
    _, other = batch((1,), classes=1)
    ours, stock = model.predict(images, one), CornerNet.predict(model, images, other)
    assert torch.equal(ours[0].pred_instances.bboxes, stock[0].pred_instances.bboxes)
    assert torch.equal(ours[0].pred_instances.scores, stock[0].pred_instances.scores)


@torch.no_grad()
@systems
def test_a_state_dict_restores_the_predictions(method):
    images, samples = batch((1,), classes=1)
    _, others = batch((1,), classes=1)
    one = detector(method, stacks=2)
    other = build(small(METHODS[method], 2, classes=1)).eval()
    other.bbox_head.test_cfg["distance_threshold"] = 1e9
    other.load_state_dict(one.state_dict(), strict=True)
    a, b = (
        model.predict(images, some)[0].pred_instances
        for model, some in ((one, samples), (other, others))
    )
    assert len(a) > 0
    assert torch.equal(a.bboxes, b.bboxes)
    assert torch.equal(a.scores, b.scores)


@torch.no_grad()
@systems
def test_an_image_in_which_nothing_is_found_has_no_detections(method):
    model = detector(method)
    model.bbox_head.test_cfg["distance_threshold"] = -1.0
    images, samples = batch((2,), classes=1)
    found = model.predict(images, samples)[0].pred_instances
    assert found.bboxes.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)


@torch.no_grad()
@systems
def test_it_predicts_in_channels_last(method):
    model = detector(method, stacks=2)
    images, samples = batch((2, 1), classes=1)
    _, others = batch((2, 1), classes=1)
    plain = model.predict(images, samples)
    model.to(memory_format=torch.channels_last)
    last = model.predict(images.contiguous(memory_format=torch.channels_last), others)
    for a, b in zip(plain, last, strict=True):
        a, b = a.pred_instances, b.pred_instances
        torch.testing.assert_close(
            in_order(a.bboxes, a.scores), in_order(b.bboxes, b.scores), rtol=1e-3, atol=2e-3
        )


@systems
@pytest.mark.parametrize(("stacks", "counts"), [(1, (3, 2)), (2, (3, 2)), (1, (0, 0))])
def test_every_parameter_of_a_small_version_has_a_gradient(method, stacks, counts):
    model = build(small(METHODS[method], stacks)).to(memory_format=torch.channels_last)
    images, samples = batch(counts, size=64)
    losses = model.loss(images.contiguous(memory_format=torch.channels_last), samples)
    total, _ = model.parse_losses(losses)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# Where an image lies on its canvas


def test_the_window_of_an_image_is_its_border_or_its_shape():
    bordered = {"border": np.array([3, 93, 10, 70], dtype=np.float32), "img_shape": (127, 127)}
    assert window(bordered) == (10, 3, 70, 93)
    assert window({"img_shape": (90, 60)}) == (0, 0, 60, 90)


@pytest.mark.parametrize("bordered", [False, True])
def test_a_box_of_the_mirrored_canvas_comes_back_to_its_place(bordered):
    """By pixels: a bright object in a dark image, 60 px wide on a canvas of 127."""
    meta: dict[str, Any] = {"img_shape": (90, 60), "batch_input_shape": (127, 127)}
    if bordered:
        meta["border"] = np.array([18, 108, 33, 93], dtype=np.float32)
    left, top, _, _ = window(meta)
    canvas = torch.zeros(127, 127)
    x1, y1, x2, y2 = 7, 11, 25, 32
    canvas[int(top) + y1 : int(top) + y2, int(left) + x1 : int(left) + x2] = 1
    seen = canvas.flip(-1).nonzero()
    mirrored_left, mirrored_top, _, _ = window(mirrored_meta(meta))
    low, high = seen.amin(0), seen.amax(0) + 1
    box = torch.tensor([[low[1], low[0], high[1], high[0]]]).float()
    box -= torch.tensor([mirrored_left, mirrored_top] * 2)
    back = unmirrored(InstanceData(bboxes=box), meta)
    assert back.bboxes.tolist() == [[x1, y1, x2, y2]]


@pytest.fixture
def picture(tmp_path) -> dict[str, Any]:
    """A grey image of 90 x 60 px with one object, as a data set hands it to a pipeline."""
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((60, 90, 3), 128, dtype=np.uint8))
    return {
        "img_path": str(path),
        "img_id": 1,
        "height": 60,
        "width": 90,
        "instances": [{"bbox": [10, 10, 50, 40], "bbox_label": 0, "ignore_flag": 0}],
    }


def piped(method: str, backbone: str, loader: str, picture: dict[str, Any]) -> dict[str, Any]:
    pipeline = published(method, backbone)[f"{loader}_dataloader"]["dataset"]["pipeline"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        return Compose(pipeline)(picture)


@pytest.mark.parametrize(("method", "padding"), [("centernet", 0), ("cornernet", 104)])
def test_the_published_images_are_padded_at_test(method, padding, picture):
    """Centred on a canvas of the size | 127; CenterNet's is black, CornerNet's the mean."""
    packed = piped(method, "hg104", "test", picture)
    assert packed["inputs"].shape == (3, 127, 127)
    assert window(packed["data_samples"].metainfo) == (18, 33, 108, 93)
    inside = packed["inputs"][:, 33:93, 18:108]
    assert inside.unique().tolist() == [128]
    assert packed["inputs"][0, 0, 0] == pytest.approx(padding, abs=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_the_published_images_are_511_pixels_wide_in_training(method, picture):
    packed = piped(method, "hg104", "train", picture)
    assert packed["inputs"].shape == (3, 511, 511)


@torch.no_grad()
@systems
def test_a_padded_image_is_predicted_on_the_original(method, picture, monkeypatch):
    """Through the published pipeline: a mirror image has the image's boxes, mirrored.

    91 px are centred on a canvas of 127 px to the pixel.
    """
    unsuppressed(method, monkeypatch)
    model = detector(method)
    model.data_preprocessor.pad_size_divisor = 1
    pixels = np.random.default_rng(0).integers(0, 256, (60, 91, 3), dtype=np.uint8)
    found = []
    for name, image in (("image", pixels), ("turned", pixels[:, ::-1])):
        path = picture["img_path"].replace("picture", name)
        cv2.imwrite(path, image)
        packed = piped(method, "hg104", "test", picture | {"img_path": path, "width": 91})
        data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        data = model.data_preprocessor(data, False)
        found.append(model.predict(data["inputs"], data["data_samples"])[0].pred_instances)
    mirrored_alike(*found, 91, method)
