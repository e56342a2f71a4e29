"""Others' weights, evaluated: as mmdet's own tool does, beside the paper's row, and stored."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet: it quietens it

# isort: split
import mmdet
import numpy as np
import pytest
import torch
from extra_rows import declare
from mmdet_models import build
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from cli import evaluate
from cli.main import main
from experiments.queue.worker import ROOT
from gfl.predictions import schema
from gfl.predictions.evaluation import FOLDER, KIND, Evaluation
from gfl.records.record import METRICS
from gfl.training.evaluate import coco_metrics

MIM = Path(mmdet.__file__).parent / ".mim"
CONFIG = "gfl/gfl_r50_fpn_1x_coco.py"
ROW = "table-3/both"
# CocoMetric's names for the twelve, which it gives with the numbers of detections in this order.
ITEMS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l",
         "AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")  # fmt: skip
LIMITS = (1, 10, 100)


@pytest.fixture(scope="module")
def tiny(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in COCO's layout with bands of two of coco-tiny's images, and the boxes in them.

    A band takes a fraction of a picture's time: both are scaled to the same long side.
    """
    source, root = shared / "data/coco-tiny", tmp_path_factory.mktemp("coco")
    content = json.loads((source / "annotations/instances_val2017.json").read_text())
    content["images"] = content["images"][:2]
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir()
    bands = {}
    for image in content["images"]:
        top, image["height"] = image["height"] // 3, image["height"] // 3
        bands[image["id"]] = top
        box = (0, top, image["width"], top + image["height"])
        with Image.open(source / "val2017" / image["file_name"]) as picture:
            picture.crop(box).save(root / "val2017" / image["file_name"], quality=95)
    boxes = []
    for one in content["annotations"]:
        if (top := bands.get(one["image_id"])) is None:
            continue
        x, y, width, height = one["bbox"]
        upper, lower = max(y, top), min(y + height, 2 * top)
        if lower - upper > 1:
            box = [x, upper - top, width, lower - upper]
            boxes.append(one | {"bbox": box, "area": width * (lower - upper)})
    content["annotations"] = boxes
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def stock_config(root: Path, work_dir: Path) -> Any:
    """mmdet's configuration, key by key, on this data set."""
    config: Any = Config.fromfile(MIM / "configs" / CONFIG)
    config.model.backbone.init_cfg = None
    config.work_dir = str(work_dir)
    config.randomness = {"seed": 0}  # else mmengine draws one, and the weights with it
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader.num_workers, loader.persistent_workers = 0, False
        loader.dataset |= {
            "data_root": f"{root}/",
            "ann_file": "annotations/instances_val2017.json",
            "data_prefix": {"img": "val2017/"},
        }
    for split in ("val", "test"):
        config[f"{split}_evaluator"].ann_file = str(root / "annotations/instances_val2017.json")
    config.test_evaluator |= {"proposal_nums": LIMITS, "metric_items": list(ITEMS)}
    return config


@torch.no_grad()
def make_find(model: Any) -> None:
    """Give a stock GFL boxes of about four strides, of COCO's first three classes."""
    torch.manual_seed(0)
    head = model.bbox_head
    nn.init.kaiming_normal_(head.gfl_cls.weight)
    head.gfl_cls.weight *= 0.5
    nn.init.constant_(head.gfl_cls.bias, -20.0)
    head.gfl_cls.bias[:3] = -2.0
    nn.init.normal_(head.gfl_reg.weight, 0, 0.02)
    head.gfl_reg.bias.view(4, 17)[:, 1:4] = 4.0


def add_objects(root: Path, model: Any, loader: Any) -> None:
    """Put objects among the real ones where the detector finds some, shifted at random.

    Else every metric of a detector that nobody trained would be 0.
    """
    path, rng = root / "annotations/instances_val2017.json", np.random.default_rng(0)
    content = json.loads(path.read_text())
    ids = [category["id"] for category in content["categories"]]
    last = max(a["id"] for a in content["annotations"] if not a["iscrowd"])
    model.eval()
    for batch in loader:
        (sample,) = model.test_step(batch)
        found = sample.pred_instances[::2]
        for box, label in zip(found.bboxes.tolist(), found.labels.tolist(), strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            shift = width * rng.uniform(0, 0.35)
            last += 1
            content["annotations"].append({
                "id": last, "image_id": sample.img_id, "category_id": ids[label], "iscrowd": 0,
                "bbox": [box[0] + shift, box[1], width, height], "area": width * height,
            })  # fmt: skip
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def stock(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mmdet's GFL as its Runner saves it, with meta and log: ``epoch_1.pth`` and ``stock.py``."""
    folder = tmp_path_factory.mktemp("stock")
    config = stock_config(tiny, folder / "work")
    config.dump(folder / "stock.py")
    runner: Any = Runner.from_cfg(config)
    make_find(runner.model)
    add_objects(tiny, runner.model, runner.build_dataloader(config.test_dataloader))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.message_hub.update_scalar("train/loss", 1.0)
    runner.message_hub.update_info("best_score", np.float64(0.4))
    runner.call_hook("before_run")  # which writes the data set's meta
    runner.save_checkpoint(str(folder), "epoch_1.pth", save_param_scheduler=False)
    return folder


def call(tmp_path: Path, *words: object) -> int:
    folders = ["--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    return main([*map(str, words), *map(str, folders)])


def test_the_twelve_metrics_are_those_of_mmdets_own_tool(
    stock: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "gfl/ops/startup")))
    tool = subprocess.run(
        [sys.executable, str(MIM / "tools/test.py"), "stock.py", "epoch_1.pth"],
        env=os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        cwd=stock,
        capture_output=True,
        text=True,
    )
    assert tool.returncode == 0, tool.stderr
    printed = re.findall(r"coco/bbox_(\S+): (-?\d\.\d+)", tool.stdout + tool.stderr)
    theirs = dict(zip(METRICS, [float(dict(printed)[item]) for item in ITEMS], strict=True))
    assert len(set(theirs.values())) > 6

    assert call(tmp_path, "evaluate", "--weights", stock / "epoch_1.pth", "--as", ROW,
                "--data", tiny, "--device", "cpu") == 0  # fmt: skip
    out, err = capsys.readouterr()
    (folder,) = (tmp_path / "runs" / FOLDER).iterdir()
    made = Evaluation.load(folder)
    ours = {n: -1 if v is None else round(v / 100, 3) for n, v in made.metrics.items()}
    assert ours == theirs  # -1: of objects that there are none of
    assert "normalises" not in err

    # What is stored is what was evaluated.
    table = schema.read(folder / schema.DETECTIONS, made.predictions["detections.parquet"])
    results = schema.results({n: table[n].to_numpy() for n in table.column_names})
    assert coco_metrics(tiny / "annotations/instances_val2017.json", results) == made.metrics
    assert schema.verified(folder, made.predictions)
    assert made.predictions.keys() == {schema.DETECTIONS, schema.LOCATIONS}
    assert (made.kind, made.file, made.images) == (KIND, "epoch_1.pth", 2)
    lines = out.splitlines()
    ap = made.metrics["AP"]
    assert ap is not None
    assert lines[1].split() == ["AP", "AP50", "AP75"]
    assert lines[2].split() == ["paper", "40.2", "58.6", "43.4"]
    assert lines[3].split()[:3] == ["these", "weights", f"{ap:.1f}"]
    assert lines[4].split()[:2] == ["difference", f"{ap - 40.2:+.1f}"]
    assert "2 images, not COCO's 5000 of val2017" in out
    assert not (tmp_path / "results").exists()


def test_a_row_of_table_4_says_that_its_figures_are_of_other_images() -> None:
    metrics = dict.fromkeys(METRICS, 43.25) | {"APS": None}
    made = Evaluation(
        name="others-x", row="table-4/GFL R-50", run="x", experiment={}, file="w", weights="0" * 64,
        data_root="", annotations="", data="", images=5000, metrics=metrics, predictions={},
        commit=None, dirty=False, versions={}, hardware={}, seconds=1.0, started="",
    )  # fmt: skip
    _, names, paper, found, difference, _, *notes = evaluate.lines(made)
    assert names.split() == ["AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L"]
    assert paper.split() == ["paper", "43.1", "62.0", "46.8", "26.0", "46.7", "52.3"]
    assert found.split()[2:] == ["43.2", "43.2", "43.2", "—", "43.2", "43.2"]
    assert difference.split()[1:] == ["+0.1", "-18.8", "-3.5", "—", "-3.5", "-9.0"]
    assert notes == ["the paper's metrics are of test-dev, these of val2017"]


def checkpoint(path: Path, classes: tuple[str, ...] | None, meta: bool = True) -> Path:
    """A stock GFL of some classes, with their names."""
    config: Any = Config.fromfile(MIM / "configs" / CONFIG).model
    config.backbone.init_cfg = None
    config.bbox_head.num_classes = len(classes or range(80))
    model = build(config)
    make_find(model)
    names = {"meta": {"dataset_meta": {"classes": classes}}} if meta else {}
    torch.save({"state_dict": model.state_dict(), **names}, path)
    return path


def test_pictures_are_detected_in_under_the_names_that_the_weights_have(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    picture = min((shared / "data/coco-tiny/val2017").glob("*.jpg"))
    weights = checkpoint(tmp_path / "w.pth", ("cup", "Schlüssel", "bowl"))
    before = sorted(tmp_path.iterdir())
    words = ["detect", picture, "--weights", weights, "--as", "table-4/GFL R-50", "--json"]
    assert call(tmp_path, *words, "--threshold", "0.05", "--distributions") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"] == str(weights)
    assert found["as"] == "table-4/GFL R-50"
    assert len(found["detections"]) > 5
    assert {one["category"] for one in found["detections"]} <= {"cup", "Schlüssel", "bowl"}
    assert found["detections"][0]["distributions"]["kind"] == "general"
    assert sorted(tmp_path.iterdir()) == before
    # Of three classes without names, COCO's would be wrong ones.
    nameless = checkpoint(tmp_path / "n.pth", ("cup", "Schlüssel", "bowl"), meta=False)
    words[3] = nameless
    assert call(tmp_path, *words) == 2
    assert "the file has 3 classes, the row 80 classes" in capsys.readouterr().err


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder in COCO's layout of one image and two categories."""
    root = tmp_path / "coco"
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(root / "val2017/a.jpg")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "bowl"}],
    }
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def test_data_of_other_classes_or_ids_are_refused(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = checkpoint(tmp_path / "w.pth", None, meta=False)
    words = ["evaluate", "--weights", weights, "--as", ROW, "--data", small]
    assert call(tmp_path, *words) == 2
    assert "its 2 categories are not COCO's 80" in capsys.readouterr().err
    path = small / "annotations/instances_val2017.json"
    path.write_text(path.read_text().replace('"id": 1, "image_id"', '"id": 2147483648, "image_id"'))
    assert call(tmp_path, *words) == 2
    assert "ids over 2147483647 or under 0: 2147483648" in capsys.readouterr().err
    assert list((tmp_path / "runs").rglob("*.*")) == []


def test_annotations_are_evaluated_as_they_are_repaired(
    tiny: Path, stock: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """An id of 0, no iscrowd, no area: the metrics are those of the file that has them."""
    plain, repaired = tmp_path / "plain", tmp_path / "repaired"
    shutil.copytree(tiny, plain)
    path = plain / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [one for one in content["annotations"] if not one["iscrowd"]]
    for i, one in enumerate(content["annotations"]):
        one |= {"id": i + 1, "area": one["bbox"][2] * one["bbox"][3]}
    path.write_text(json.dumps(content))
    shutil.copytree(plain, repaired)
    for image in content["images"]:
        image["filename"] = image.pop("file_name")
    for i, one in enumerate(content["annotations"]):
        one["id"] = i
        del one["iscrowd"], one["area"]
    (repaired / "annotations/instances_val2017.json").write_text(json.dumps(content))
    made = []
    for root in (plain, repaired):
        words = ["--weights", stock / "epoch_1.pth", "--as", ROW, "--data", root, "--device", "cpu"]
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        assert call(tmp_path, "evaluate", *words) == 0
        (folder,) = (tmp_path / "runs" / FOLDER).iterdir()
        made.append(Evaluation.load(folder))
    err = capsys.readouterr().err
    assert "instances_val2017.json: " in err
    assert "annotations numbered from 1" in err
    assert made[0].metrics == made[1].metrics
    assert made[0].annotations != made[1].annotations


def test_an_image_cut_short_is_one_line(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = checkpoint(tmp_path / "w.pth", None, meta=False)
    path = small / "val2017/a.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    assert call(tmp_path, "evaluate", "--weights", weights, "--as", ROW, "--data", small) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"gfl: {path}: damaged, cannot be decoded")
    assert "Traceback" not in err


def test_a_row_of_ones_own_is_shown_without_the_papers_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare("table-1c", monkeypatch)
    metrics = dict.fromkeys(METRICS, 43.25)
    made = Evaluation(
        name="others-x", row="table-1c/3.5", run="x", experiment={}, file="w", weights="0" * 64,
        data_root="", annotations="", data="", images=5000, metrics=metrics, predictions={},
        commit=None, dirty=False, versions={}, hardware={}, seconds=1.0, started="",
    )  # fmt: skip
    _, _, paper, found, difference, *_ = evaluate.lines(made)
    assert paper.split() == ["paper", "—", "—", "—"]
    assert found.split() == ["these", "weights", "43.2", "43.2", "43.2"]
    assert difference.split() == ["difference", "—", "—", "—"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no weights named: --weights FILE.pth"),
        (("--weights", "w.pth"), "--weights needs --as ROW"),
        (("--weights", "/w.pth", "--as", ROW), "no such file: /w.pth"),
        (("--weights", __file__, "--as", ROW), "no data named: DATA=/path/to/coco, or --data"),
        (("--weights", __file__, "--as", "table-1a/centerness-branch"), "is 2 runs; name one"),
        (("--weights", __file__, "--as", "table-4/GFL"), "has no row 'GFL'"),
        (("--weights", __file__, "--as", ROW, "--data", "{small}"), "not a PyTorch checkpoint"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], said: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(tmp_path, "evaluate", *(word.format(small=small) for word in words)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_make_hands_on_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """AS is also make's, and conda's, name of the assembler."""

    script = subprocess.run(["make", "-n", "evaluate"], cwd=ROOT, capture_output=True, text=True)
    assert 'exec .venv/bin/gfl "$@"' in script.stdout

    def made(*words: str) -> str:
        done = subprocess.run(
            ["make", "evaluate", "PY=echo", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    monkeypatch.setenv("AS", "x86_64-conda-linux-gnu-as")
    assert made() == "-m cli evaluate"
    assert made("WEIGHTS=a b.pth", "AS=table-4/GFL R-50", "DATA=/x") == (
        "-m cli evaluate --weights a b.pth --as table-4/GFL R-50 --data /x"
    )
