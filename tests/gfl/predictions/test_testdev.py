"""The file for COCO's server: every detection of every image, in the server's words."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmengine, which warns

# isort: split
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet_models import build
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn

from experiments.profiles import COCO, SMOKE
from gfl import config
from gfl.data.coco import TEST_DEV, TEST_IMAGES, check_test_dev
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile
from gfl.files import write_text
from gfl.predictions import testdev
from gfl.shapes import embedded
from gfl.training import checkpoint

GFL = Experiment(quality="joint", boxes="general", dfl=True)
TINY = replace(SMOKE, dataset=replace(SMOKE.dataset, train=1, val=5))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data's validation images as if they were test-dev's: without annotations."""
    root = tmp_path_factory.mktemp("drawn")
    embedded.write(TINY.dataset, root / "arrays")
    embedded.export(root / "arrays", root / "files")
    pretend(root / "files")
    for split in ("val", "test"):
        (root / f"files/{split}2017.npy").symlink_to(root / "arrays/val2017.npy")
    return root / "files"


def pretend(root: Path) -> None:
    (root / TEST_IMAGES).symlink_to(root / "val2017")
    dataset = json.loads((root / "annotations/instances_val2017.json").read_text())
    del dataset["annotations"]
    write_text(root / TEST_DEV, json.dumps(dataset))


def trained(run_dir: Path, profile: Profile) -> nn.Module:
    """A model that finds something everywhere, and its weights where a run leaves them."""
    torch.manual_seed(0)
    model = build(config.build(GFL, profile, 0)["model"])
    head = model.bbox_head
    with torch.no_grad():
        nn.init.kaiming_normal_(head.gfl_cls.weight)
        nn.init.zeros_(head.gfl_cls.bias)
        nn.init.kaiming_normal_(head.gfl_reg.weight)
        head.gfl_reg.bias.view(4, -1)[:, 1] = 4.0  # boxes of about two strides
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.save({"model": model.state_dict()}, run_dir / checkpoint.FINAL)
    return model.eval()


def written(run_dir: Path, root: Path, profile: Profile, told: list[str]) -> Any:
    check_test_dev(root)
    path = testdev.write(
        GFL, profile, 0, run_dir=run_dir, data_root=root, workers=0, report=told.append
    )
    assert path == run_dir / "detections_test-dev2017_gfl_results.json"
    return json.loads(path.read_text())


@torch.no_grad()
def expected(model: nn.Module, root: Path, profile: Profile) -> list[tuple[Any, ...]]:
    """What the model finds on the validation images, as the server's four words."""
    settings = config.for_machine(
        config.build(GFL, profile, 0), data_root=root, work_dir=root, workers=0
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(Config(settings["val_dataloader"]["dataset"]))
    found = []
    for item in dataset:
        (sample,) = model.test_step(pseudo_collate([item]))
        boxes = sample.pred_instances
        for box, score, label in zip(boxes.bboxes, boxes.scores, boxes.labels, strict=True):
            x, y, right, bottom = box.tolist()
            size = (right - x, bottom - y)
            found.append((sample.img_id, dataset.cat_ids[label], (x, y, *size), score.item()))
    return found


def test_every_detection_is_in_it_in_the_servers_words(tmp_path: Path, drawn: Path) -> None:
    model, told = trained(tmp_path / "run", TINY), []
    found = written(tmp_path / "run", drawn, TINY, told)
    wanted = expected(model, drawn, TINY)
    assert len(found) == len(wanted) > 100
    for one, (image, category, box, score) in zip(found, wanted, strict=True):
        assert one == {
            "image_id": image,
            "category_id": category,
            "bbox": pytest.approx(box, abs=1e-3),
            "score": pytest.approx(score, abs=1e-5),
        }
    assert len({one["bbox"][0] for one in found}) > 20
    assert told == ["5 of 5 images"]
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {testdev.FILE, "final.pth", "final.pth.sha256"}


def test_coco_images_of_any_size_and_cocos_category_ids(tmp_path: Path, shared: Path) -> None:
    tiny, root = shared / "data/coco-tiny", tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(tiny / "annotations/instances_val2017.json", root / "annotations")
    (root / "val2017").symlink_to(tiny / "val2017")
    pretend(root)
    listed = json.loads((root / TEST_DEV).read_text())
    listed["images"] = listed["images"][:3]
    write_text(root / TEST_DEV, json.dumps(listed))
    profile = replace(COCO, model=SMOKE.model, scale=(128, 96))
    trained(tmp_path / "run", profile)
    found = written(tmp_path / "run", root, profile, [])
    sizes = {image["id"]: (image["width"], image["height"]) for image in listed["images"]}
    assert {one["image_id"] for one in found} == sizes.keys()
    assert {one["category_id"] for one in found} <= {c["id"] for c in listed["categories"]}
    assert max(one["category_id"] for one in found) > 80  # COCO's ids have gaps
    for one in found:
        x, y, width, height = one["bbox"]
        assert 0 <= x <= x + width <= sizes[one["image_id"]][0] + 1e-3
        assert 0 <= y <= y + height <= sizes[one["image_id"]][1] + 1e-3


def test_weights_that_are_missing_damaged_or_anothers_are_refused(
    tmp_path: Path, drawn: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with pytest.raises(UserError, match=r"final\.pth is missing: the run is not finished"):
        written(run_dir, drawn, TINY, [])
    wider = replace(TINY, model=replace(TINY.model, channels=32))
    trained(run_dir, wider)
    with pytest.raises(UserError, match="of a model that this code does not build"):
        written(run_dir, drawn, TINY, [])
    with (run_dir / checkpoint.FINAL).open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="does not match its checksum"):
        written(run_dir, drawn, TINY, [])
    assert {p.name for p in run_dir.iterdir()} == {"final.pth", "final.pth.sha256"}


def test_categories_are_matched_by_name_and_others_are_refused(tmp_path: Path, drawn: Path) -> None:
    wanted = expected(trained(tmp_path / "run", TINY), drawn, TINY)
    root = tmp_path / "root"
    (root / "annotations").mkdir(parents=True)
    for name in (TEST_IMAGES, f"{TEST_IMAGES}.npy"):
        (root / name).symlink_to(drawn / name)
    listed = json.loads((drawn / TEST_DEV).read_text())
    listed["categories"].reverse()
    write_text(root / TEST_DEV, json.dumps(listed))
    found = written(tmp_path / "run", root, TINY, [])
    categories = [category for _, category, _, _ in wanted]
    assert [one["category_id"] for one in found] == categories
    assert len(set(categories)) > 1
    listed["categories"][0]["name"] = "nut"
    write_text(root / TEST_DEV, json.dumps(listed))
    with pytest.raises(UserError, match="its categories are not the"):
        written(tmp_path / "run", root, TINY, [])


@pytest.mark.parametrize(
    ("removed", "complaint"),
    [
        (TEST_DEV, "image_info_test-dev2017.json is missing"),
        (TEST_IMAGES, "test2017/ is missing"),
        ("first image", "test2017/ lacks 1 of the 5 images"),
        ("list", "has no images"),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    tmp_path: Path, drawn: Path, removed: str, complaint: str
) -> None:
    root = tmp_path / "root"
    shutil.copytree(drawn / "annotations", root / "annotations")
    shutil.copytree(drawn / "val2017", root / TEST_IMAGES)
    check_test_dev(root)
    if removed == "first image":
        min((root / TEST_IMAGES).iterdir()).unlink()
    elif removed == "list":
        listed = json.loads((root / TEST_DEV).read_text())
        write_text(root / TEST_DEV, json.dumps(listed | {"images": []}))
    elif removed == TEST_DEV:
        (root / TEST_DEV).unlink()
    else:
        shutil.rmtree(root / TEST_IMAGES)
    with pytest.raises(UserError, match=complaint) as refused:
        check_test_dev(root)
    assert "\n" not in str(refused.value)
