"""A picture is detected in as evaluation would; its distributions are those of the kept boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it quietens it

# isort: split
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from runs_made import make_run

from experiments.profiles import COCO, SMOKE
from gfl import config
from gfl.config.systems import METHODS, method_named
from gfl.data import images, loading
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile, System
from gfl.pictures import detecting
from gfl.pictures.detecting import SIDES, Detection
from gfl.predictions import trained
from gfl.shapes import embedded

GENERAL = Experiment(quality="joint", boxes="general", dfl=True)
DISTRIBUTED = [
    GENERAL,
    Experiment(boxes="general", y_n=8.0, delta=0.5),  # a centerness branch
    Experiment(host="fcos", quality="iou-branch", boxes="general", dfl=True),
    Experiment(host="fcos", boxes="gaussian"),
    Experiment(boxes="gaussian", quality="joint"),
]


def slug(experiment: Experiment) -> str:
    return experiment.slug


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A picture in which a random model finds a lot: wider than high, as no side is 64 px."""
    pixels, _ = embedded.render(embedded.ShapesSpec(image_size=128, train=1, val=1), "val", 1)
    path = tmp_path / "drawn.png"
    Image.fromarray(pixels[:96]).save(path)
    return path


def detected(run_dir: Path, path: Path, threshold: float = 0.0) -> list[Detection]:
    return detecting.detect(detecting.detector(run_dir), images.read(path), threshold)


def same(found: list[Detection], expected: list[Detection]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert (one.category, one.score, one.box) == (other.category, other.score, other.box)


@pytest.mark.parametrize(
    "experiment", [GENERAL, Experiment(host="retinanet", quality="joint")], ids=slug
)
def test_it_finds_what_evaluation_finds(tmp_path: Path, experiment: Experiment) -> None:
    make_run(tmp_path / "run", experiment)
    embedded.write(SMOKE.dataset, tmp_path / "data", workers=1)
    plain = trained.detector(tmp_path / "run")
    settings: Any = config.for_machine(
        plain.config, data_root=tmp_path / "data", work_dir=tmp_path, workers=0
    )
    loading._mapped.cache_clear()
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset: Any = DATASETS.build(Config(settings["val_dataloader"]["dataset"]))
    with torch.no_grad():
        (sample,) = plain.model.test_step(pseudo_collate([dataset[3]]))  # pyright: ignore
    expected = sample.pred_instances
    embedded.export(tmp_path / "data", tmp_path / "files")
    file = Path(sample.img_path).relative_to(tmp_path / "data")
    found = detected(tmp_path / "run", tmp_path / "files" / file)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose([one.score for one in found], expected.scores, rtol=0, atol=0)
    np.testing.assert_allclose([one.box for one in found], expected.bboxes, rtol=0, atol=0)
    assert [one.label for one in found] == expected.labels.tolist()
    assert [one.category for one in found] == [plain.classes[i] for i in expected.labels]


def first_row(method: str) -> System:
    return System(method, next(iter(method_named(method).rows)))


@pytest.mark.parametrize(
    ("method", "profile"),
    [
        *((method, SMOKE) for method in METHODS),
        # At full size their pipelines read floats, and pad without resizing.
        pytest.param("centernet", COCO, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_system_of_table_4_detects(
    method: str, profile: Profile, tmp_path: Path, drawn: Path
) -> None:
    """A picture has neither annotations nor, in a corner detector's pipeline, a scale."""
    make_run(tmp_path, first_row(method), profile)
    run = detecting.detector(tmp_path)
    found = detecting.detect(run, images.read(drawn))
    # Random corners make no pair with a centre between them, or with shifts that agree.
    assert found or method in ("centernet", "centripetalnet")
    assert all(one.score >= run.least_score and one.distributions is None for one in found)
    assert 0 <= run.least_score < 1
    for one in found:
        left, top, right, bottom = one.box
        assert 0 <= left <= right <= 128
        assert 0 <= top <= bottom <= 96


@pytest.mark.parametrize("experiment", DISTRIBUTED, ids=slug)
def test_the_distributions_are_of_the_boxes_that_were_kept(
    tmp_path: Path, drawn: Path, experiment: Experiment
) -> None:
    """Their means are the sides, wherever the picture's edge did not cut the box."""
    make_run(tmp_path / "run", experiment)
    found = detected(tmp_path / "run", drawn)
    picture = images.read(drawn)
    limits = [0, 0, picture.width, picture.height]
    checked = 0
    for one in found:
        sides = one.distributions
        assert sides is not None
        for side in range(len(SIDES)):
            if experiment.boxes == "general":
                assert sides.p.shape == (4, experiment.n + 1)
                assert sides.p[side].sum() == pytest.approx(1, abs=1e-5)
                mean = float((sides.p[side] * sides.bins).sum())
            else:
                assert (sides.sigma > 0).all()
                mean = max(float(sides.mean[side]), 0.0)
            expected = sides.position(side, mean)
            beyond = expected < 0 if side < 2 else expected > limits[side]
            if beyond:
                assert one.box[side] == pytest.approx(limits[side], abs=1e-3)
            else:
                assert one.box[side] == pytest.approx(expected, abs=1e-3)
                checked += 1
    assert checked > 100
    assert len({one.distributions.location for one in found}) > 20


def test_strides_are_those_of_the_upright_picture(tmp_path: Path, drawn: Path) -> None:
    """The smoke profile halves 128 x 96 px; its levels' strides of 8, 16, 32 px become double."""
    make_run(tmp_path / "run", GENERAL)
    strides = {one.distributions.stride for one in detected(tmp_path / "run", drawn)}
    assert strides <= {(16.0, 16.0), (32.0, 32.0), (64.0, 64.0)}
    assert len(strides) > 1


def test_other_boxes_have_no_distributions(tmp_path: Path, drawn: Path) -> None:
    for experiment in (Experiment(), Experiment(host="foveabox", quality="none")):
        make_run(tmp_path / experiment.slug, experiment)
        run = detecting.detector(tmp_path / experiment.slug)
        assert not detecting.has_distributions(run)
        found = detecting.detect(run, images.read(drawn))
        assert all(one.distributions is None for one in found)


def test_a_threshold_keeps_the_best(tmp_path: Path, drawn: Path) -> None:
    make_run(tmp_path / "run", GENERAL)
    every = detected(tmp_path / "run", drawn)
    scores = [one.score for one in every]
    assert scores == sorted(scores, reverse=True)
    same(detected(tmp_path / "run", drawn, scores[4]), every[:5])


@pytest.mark.parametrize("kind", ["photograph", "drawn"])
def test_a_turned_copy_has_the_same_boxes(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    original = picture_of(kind, request)
    make_run(tmp_path / "run", GENERAL)
    original.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright
    original.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    expected = detected(tmp_path / "run", tmp_path / "upright.png")
    same(detected(tmp_path / "run", tmp_path / "turned.png"), expected)


@pytest.mark.parametrize("kind", ["photograph", "drawn"])
def test_copies_in_other_encodings_have_nearly_the_same_boxes(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    original = picture_of(kind, request)
    make_run(tmp_path / "run", GENERAL)
    original.save(tmp_path / "rgb.png")
    expected = detected(tmp_path / "run", tmp_path / "rgb.png")
    original.convert("CMYK").save(tmp_path / "cmyk.tif")
    same(detected(tmp_path / "run", tmp_path / "cmyk.tif"), expected)
    original.convert("RGBA").save(tmp_path / "alpha.png")
    same(detected(tmp_path / "run", tmp_path / "alpha.png"), expected)
    original.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    near = detected(tmp_path / "run", tmp_path / "cmyk.jpg")
    for one in expected[:3]:
        assert max(overlap(one, other) for other in near) > 0.9


def test_grey_of_sixteen_bits_is_grey_of_eight(tmp_path: Path, drawn: Path) -> None:
    make_run(tmp_path / "run", GENERAL)
    grey = Image.open(drawn).convert("L")
    grey.save(tmp_path / "8.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "16.png")
    eight, sixteen = (detected(tmp_path / "run", tmp_path / f"{n}.png") for n in (8, 16))
    same(sixteen, eight)


def test_a_strip_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "run", GENERAL)
    Image.new("RGB", (1000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(UserError, match="1000 x 1 pixels, too narrow: nothing is left of it at"):
        detected(tmp_path / "run", tmp_path / "strip.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    detected(tmp_path / "run", tmp_path / "one.png")


def picture_of(kind: str, request: pytest.FixtureRequest) -> Image.Image:
    if kind == "drawn":
        return Image.open(request.getfixturevalue("drawn")).convert("RGB")
    folder = request.getfixturevalue("shared") / "data/coco-tiny/val2017"
    return Image.open(min(folder.glob("*.jpg"))).convert("RGB")


def overlap(one: Detection, other: Detection) -> float:
    """The IoU of two boxes."""
    width, height = (
        min(one.box[i + 2], other.box[i + 2]) - max(one.box[i], other.box[i]) for i in (0, 1)
    )
    both = max(width, 0.0) * max(height, 0.0)
    areas = ((b[2] - b[0]) * (b[3] - b[1]) for b in (one.box, other.box))
    return both / (sum(areas) - both)
