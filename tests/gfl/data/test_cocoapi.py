"""COCO files under mmdet's reader: UTF-8 in any locale, and no class lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401
from gfl.errors import UserError

# isort: split
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from experiments.profiles import COCO
from gfl import config
from gfl.data.coco import annotation_file, check
from gfl.experiment import Experiment
from gfl.predictions import collect

ROOT = Path(__file__).parents[3]
NAMES = ("Schlüssel", "螺母", "bolt")
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def written(folder: Path, names: tuple[str, ...]) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 10 * i, "bbox": [8, 8, 16, 16], "area": 256,
             "iscrowd": 0}
            for i in range(1, len(names) + 1)
        ],
        "categories": [{"id": 10 * i, "name": name} for i, name in enumerate(names, 1)],
    }  # fmt: skip
    path = folder / "boxes.json"
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode())
    return path


def dataset(path: Path, names: tuple[str, ...]) -> CocoDataset:
    place = {"data_prefix": {"img": ""}, "pipeline": []}
    return CocoDataset(ann_file=str(path), metainfo={"classes": names}, **place)


def test_every_label_is_its_class(tmp_path: Path) -> None:
    found = dataset(written(tmp_path, NAMES), NAMES)
    assert found.cat_ids == [10, 20, 30]
    labels = [box["bbox_label"] for box in found.get_data_info(0)["instances"]]
    assert labels == [0, 1, 2]


def test_a_label_is_its_classes_place_in_any_order_of_the_file(tmp_path: Path) -> None:
    found = dataset(written(tmp_path, NAMES), ("bolt", "Schlüssel", "螺母"))
    assert found.cat_ids == [30, 10, 20]
    labels = [box["bbox_label"] for box in found.get_data_info(0)["instances"]]
    assert labels == [1, 2, 0]


def renumbered(content: dict[str, Any], seed: int) -> dict[str, Any]:
    """A data set with its categories shuffled, each with the id of another, or a new one."""
    rng = random.Random(seed)
    categories = content["categories"]
    fresh = rng.sample(range(1, 2 * len(categories) + 100), len(categories))
    ids = dict(zip((one["id"] for one in categories), fresh, strict=True))
    shuffled = [one | {"id": ids[one["id"]]} for one in categories]
    rng.shuffle(shuffled)
    boxes = [one | {"category_id": ids[one["category_id"]]} for one in content["annotations"]]
    return content | {"categories": shuffled, "annotations": boxes}


def test_other_categories_ids_and_order_train_the_same(tmp_path: Path, shared: Path) -> None:
    clean, other = shared / "data/coco-tiny", tmp_path / "other"
    (other / "annotations").mkdir(parents=True)
    for seed, split in enumerate(("train2017", "val2017")):
        (other / split).symlink_to(clean / split)
        content = json.loads(annotation_file(clean, split).read_bytes())
        annotation_file(other, split).write_text(json.dumps(renumbered(content, seed)))
    assert check(clean) == []
    said = "instances_val2017.json: categories matched with train2017's by name"
    assert check(other) == [said]
    loaded: list[dict[str, Any]] = []
    for root in (clean, other):
        settings = config.for_machine(
            config.build(Experiment(), COCO, 0), data_root=root, work_dir=tmp_path, workers=0
        )
        with DefaultScope.overwrite_default_scope("mmdet"):
            parts = {
                split: DATASETS.build(settings[f"{split}_dataloader"]["dataset"])
                for split in ("train", "val")
            }
        listed = [
            [(one["bbox_label"], one["bbox"], one["ignore_flag"]) for one in info["instances"]]
            for part in parts.values()
            for info in map(part.get_data_info, range(len(part)))
        ]
        names = {
            one["id"]: one["name"]
            for one in json.loads(annotation_file(root, "val2017").read_bytes())["categories"]
        }
        loaded.append({
            "instances": listed,
            "names": [names[id] for id in parts["val"].cat_ids],
            "objects": collect.object_ids(parts["val"], annotation_file(root, "val2017")),
        })  # fmt: skip
    assert loaded[0] == loaded[1]
    assert sum(map(len, loaded[0]["instances"])) > 100


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("Schlüssel", "螺母", "nut"), "the annotations lack 1 of the 3 classes .*: nut"),
        (("Schl\udcc3\udcbcssel", "螺母", "bolt"), r"lack 1 of .*: Schl\\udcc3\\udcbcssel"),
    ],
)
def test_a_class_that_mmdet_would_lose_in_silence_is_refused(
    tmp_path: Path, names: tuple[str, ...], complaint: str
) -> None:
    path = written(tmp_path, NAMES)
    with pytest.raises(UserError, match=complaint):
        dataset(path, names)
    out = str(tmp_path / "found")  # a temporary folder of its own would be left to the collector
    metric = CocoMetric(ann_file=str(path), metric="bbox", outfile_prefix=out)
    metric.dataset_meta = {"classes": names}
    with pytest.raises(UserError, match=complaint):
        metric.compute_metrics([({"img_id": 1}, {"img_id": 1})])


def test_no_locale_changes_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, NAMES)
    program = (
        "import locale, sys, gfl.register\n"
        "from mmdet.datasets import CocoDataset\n"
        "from mmdet.evaluation import CocoMetric\n"
        "assert locale.getpreferredencoding(False) != 'UTF-8', locale.getpreferredencoding(False)\n"
        f"names = {NAMES!a}\n"
        "data = CocoDataset(ann_file=sys.argv[1], metainfo={'classes': names},\n"
        "    data_prefix={'img': ''}, pipeline=[])\n"
        "assert data.cat_ids == [10, 20, 30], data.cat_ids\n"
        "api = CocoMetric(ann_file=sys.argv[1])._coco_api\n"
        "assert api.get_cat_ids(cat_names=names) == [10, 20, 30]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=os.environ | NOT_UTF8,
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_the_check_repairs_is_read_so_in_training_and_evaluation(
    tmp_path: Path, encoding: str
) -> None:
    path = written(tmp_path, NAMES)
    content = json.loads(path.read_bytes())
    for i, one in enumerate(content["annotations"]):
        one |= {"id": i, "image_id": "1"}
        del one["area"], one["iscrowd"]
    content["annotations"][2]["ignore"] = 1
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    instances = dataset(path, NAMES).get_data_info(0)["instances"]
    assert [(one["bbox_label"], one["ignore_flag"]) for one in instances] == [
        (0, 0),
        (1, 0),
        (2, 1),
    ]
    api: Any = CocoMetric(ann_file=str(path))._coco_api
    truth = api.dataset["annotations"]
    assert [(one["id"], one["area"], one["iscrowd"]) for one in truth] == [
        (1, 256, 0),
        (2, 256, 0),
        (3, 256, 1),
    ]
