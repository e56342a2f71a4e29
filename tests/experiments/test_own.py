"""GFL on a data set of one's own: what is planned, where it may lie, and a short real training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from own_folder import path as annotation_file
from own_folder import write

from cli.main import main
from experiments import matrix, own
from experiments.profiles import COCO, LAPTOP, PROFILES
from experiments.tables.catalogue import TABLES
from gfl import config
from gfl.data.own.dataset import Contents
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.records.record import METRICS, RUN_ID, Request, run_id

FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
SHORT = ("--epochs", "2", "--size", "64", "--batch", "3")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(own.ROOT))  # for the fake worker
    return write(tmp_path / "parts")


@pytest.fixture
def data(root: Path) -> own.OwnData:
    return own.read(root)


@pytest.mark.parametrize(
    ("experiment", "id"),
    [
        (Experiment(quality="joint"), "atss-joint-dirac-s0-d9a8d277"),
        (own.GFL, "atss-joint-general-dfl-s0-1c4ec872"),
    ],
)
def test_the_tables_runs_keep_their_ids(experiment, id):
    assert run_id(experiment, LAPTOP, 0) == id


def test_no_run_of_ones_own_has_the_id_of_a_tables(data):
    """Not even with the settings of a declared profile: the data are part of a run's identity."""
    mine = own.plan(data).run
    assert mine.id.startswith("own-atss-joint-general-dfl-s0-")
    assert RUN_ID.fullmatch(mine.id)
    assert not any(run.id.startswith("own-") for run in _declared())
    for profile in (LAPTOP, COCO):
        with_data = replace(profile, dataset=None, own=data.spec)
        assert run_id(own.GFL, with_data, 0) != run_id(own.GFL, profile, 0)
    with pytest.raises(UserError, match="no run 'own-"):
        matrix.select(mine.id, LAPTOP, [0])


def _declared() -> list[matrix.Run]:
    return [run for p in PROFILES.values() for run in matrix.plan(TABLES.values(), p, [0])]


def test_the_id_follows_the_boxes_and_the_settings(root, data):
    before = own.plan(data).run.id
    assert own.plan(own.read(root)).run.id == before
    assert own.plan(data, own.Settings(epochs=5)).run.id != before
    assert own.plan(data, own.Settings(device="cpu")).run.id == before
    content = json.loads(annotation_file(root, "train").read_text())
    content["annotations"][0]["bbox"][0] += 1
    annotation_file(root, "train").write_text(json.dumps(content))
    assert own.plan(own.read(root)).run.id != before


def test_the_configuration_reads_the_folder_under_its_own_names(root, data):
    plan = own.plan(data)
    resolved = config.build(plan.run.experiment, plan.profile, 0)
    assert resolved["dataset"]["classes"] == ("nut", "bolt")
    assert resolved["model"]["bbox_head"]["num_classes"] == 2
    here = config.for_machine(resolved, data_root=root, work_dir=root, workers=0)
    for split in ("train", "val"):
        dataset = here[f"{split}_dataloader"]["dataset"]
        assert Path(dataset["data_root"], dataset["ann_file"]) == annotation_file(root, split)
        assert dataset["data_prefix"] == {"img": f"{split}2017/"}
        assert dataset["metainfo"] == {"classes": ("nut", "bolt")}
        assert dataset["pipeline"][0] == {"type": "LoadUprightImage"}
    assert here["val_evaluator"]["ann_file"] == str(annotation_file(root, "val"))


def test_a_request_of_ones_own_survives_its_file(data, tmp_path):
    run = own.plan(data).run
    request = Request(run.id, run.experiment, run.profile, 0, "x", "cpu", 1, None, None, False)
    request.save(tmp_path)
    assert Request.load(tmp_path) == request


def test_the_scale_is_the_laptops_without_cuda_and_the_papers_with(data, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    small = own.plan(data).profile
    assert (small.model.depth, small.device, small.scale) == (18, "cpu", (256, 256))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    large = own.plan(data).profile
    assert large.model == COCO.model
    assert (large.scale, large.device, large.schedule.batch) == ((1333, 800), "cuda", 4)
    assert large.schedule.lr == pytest.approx(0.01 * 4 / 16)
    assert own.plan(data, own.Settings(device="cpu")).profile == small
    assert own.plan(data, own.Settings(pretrained=False)).profile.model.pretrained is None


def test_the_laptops_network_is_its_own_at_its_own_size_and_grows_with_the_images(data):
    assert own.plan(data, own.Settings(scale="laptop", size=128)).profile.model == LAPTOP.model
    each = [own.Settings(scale="laptop", size=size) for size in (64, 256, 512)]
    levels = [own.plan(data, settings).profile.model.levels for settings in each]
    assert levels == [3, 4, 5]
    assert own.plan(data, own.Settings(scale="laptop", size=[240, 320])).profile.scale == (320, 240)


def test_epochs_follow_the_number_of_images_and_the_schedule_the_epochs(data):
    few = own.plan(data, own.Settings(scale="coco")).profile.schedule
    assert few.epochs == 72
    assert few.milestones == (48, 66)
    many = replace(data, train=Contents(60_000, {"nut": 1}))
    assert own.plan(many, own.Settings(scale="coco")).profile.schedule.epochs == 12
    assert own.plan(many, own.Settings(scale="laptop")).profile.schedule.epochs == 3
    short = own.plan(data, own.Settings(scale="coco", epochs=1)).profile.schedule
    assert (short.milestones, short.warmup_iters) == ((1,), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experiment": "table-9"}, "unknown table"),
        ({"experiment": "table-1b/RetinaNet"}, "trains atss or fcos only|is 2 runs"),
        ({"experiment": Experiment(host="retinanet", quality="joint")}, "trains atss or fcos only"),
        ({"experiment": replace(own.GFL, backbone="r101")}, "its scale's network"),
        ({"scale": "lap"}, "unknown scale 'lap'; did you mean 'laptop'"),
        ({"epochs": 0}, "epochs 0: expected 1 or more"),
        ({"lr": float("nan")}, "lr nan"),
        ({"size": 20}, "size 20: expected"),
        ({"size": [100, 200, 300]}, "size 100 200 300"),
        ({"scale": "laptop", "pretrained": True}, "no pretrained weights"),
        ({"gpus": 2, "batch": 3}, "2 GPUs cannot share a batch of 3"),
        ({"seed": -1}, "seed -1: expected 0 to 4294967295"),
        ({"seed": 1 << 32}, "seed 4294967296: expected 0 to 4294967295"),
    ],
)
def test_settings_that_cannot_be_are_refused(data, settings, message):
    with pytest.raises(UserError, match=message):
        own.plan(data, own.Settings(**settings))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--seed", "99999999999999"), "seed 99999999999999: expected 0 to 4294967295"),
        (("--device", "cuda"), "--device cuda needs 1 CUDA device, and torch finds none here"),
        (("--scale", "coco"), "--scale coco needs 1 CUDA device, and torch finds none here"),
        (("--gpus", "4", "--batch", "4"), "--gpus 4 needs 4 CUDA devices, and torch finds none"),
        (("--gpus", "4", "--batch", "4", "--device", "cpu"), "and --device cpu uses none"),
        (("--split", "0"), "--split '0': expected a number above 0 and below 1"),
        (("--split", "1"), "--split '1': expected a number above 0 and below 1"),
        (("--split", "20%"), "--split '20%': expected a number above 0 and below 1"),
    ],
)
def test_a_dry_run_refuses_what_training_would(root, tmp_path, monkeypatch, capsys, option, said):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    command = ["own", str(root), "--out", str(tmp_path / "mine"), "--epochs", "2"]
    assert main([*command, *option, "--dry-run"], FAKE_WORKER) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_devices_that_are_there_are_enough(data, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    own.check_devices(own.plan(data, own.Settings(scale="coco", gpus=2)))
    own.check_devices(own.plan(data, own.Settings(device="cuda")))
    with pytest.raises(UserError, match="needs 4 CUDA devices, and torch finds 2 here"):
        own.check_devices(own.plan(data, own.Settings(scale="coco", gpus=4)))


def test_an_experiment_is_named_as_a_tables_row(data):
    assert own.plan(data, own.Settings(experiment="table-3/none")).run.experiment == Experiment()


def test_a_folder_that_holds_something_else_is_left_as_it_is(root, data, tmp_path):
    plan = own.plan(data, own.Settings(epochs=2))
    with pytest.raises(UserError, match="holds something other than a run"):
        own.check_folder(plan, root)
    for place in ("results/x", "runs/laptop/x", "data"):
        with pytest.raises(UserError, match="the tables' place"):
            own.check_folder(plan, own.ROOT / place)
    with pytest.raises(UserError, match="the folder of all runs of your own"):
        own.check_folder(plan, own.FOLDER)
    other = own.plan(data, own.Settings(epochs=3, seed=1)).run
    before = tmp_path / "before"
    before.mkdir()
    own.check_folder(plan, before)
    Request(other.id, other.experiment, other.profile, 1, "x", "cpu", 1, None, None, False).save(
        before
    )
    with pytest.raises(UserError, match=r"other settings \(seed 1, now 0; .*epochs 3, now 2"):
        own.train(plan, before, worker=FAKE_WORKER)
    assert [p.name for p in before.iterdir()] == ["request.json"]


def test_trained_twice_is_trained_once(root, tmp_path, capsys):
    out = tmp_path / "mine"
    command = ["own", str(root), "--out", str(out), *SHORT, "--scale", "laptop"]
    assert main(command, FAKE_WORKER) == 0
    said = capsys.readouterr().out
    assert "2 classes: nut, bolt" in said
    assert f"detect --run {out} " in said
    assert "all classes   " in said
    assert main(command, FAKE_WORKER) == 0
    assert "already trained (AP " in capsys.readouterr().out
    assert (tmp_path / "trained.txt").read_text().split() == [own.Request.load(out).id]


def test_other_code_is_said_and_again_trains_anew(root, tmp_path, losses, capsys):
    out = tmp_path / "mine"
    command = ["own", str(root), "--out", str(out), *SHORT, "--scale", "laptop"]
    assert main(command, FAKE_WORKER) == 0
    losses.write_text(losses.read_text() + "x = 1\n")
    assert main(command, FAKE_WORKER) == 0
    assert "; gfl/losses.py has changed since; --again " in capsys.readouterr().out
    assert main([*command, "--again"], FAKE_WORKER) == 0
    assert len((tmp_path / "trained.txt").read_text().split()) == 2
    assert (tmp_path / "mine.before-1/record.json").exists()


def test_a_dry_run_writes_nothing(root, tmp_path, capsys):
    command = ["own", str(root), "--out", str(tmp_path / "mine"), *SHORT, "--dry-run"]
    assert main(command, FAKE_WORKER) == 0
    assert "2 epochs, batch 3" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_a_mistake_is_one_line_and_exit_code_2(root, tmp_path, capsys):
    wrong = (
        ([str(tmp_path / "gone")], "gone is missing"),
        ([str(root), "--lr", "0"], "--lr '0': expected a number above 0"),
        ([str(root), "--scale", "laptop", "--pretrained"], "no pretrained weights"),
        ([str(root), "--epochs", "none"], "--epochs 'none': expected a whole number, 1 or more"),
        ([str(root), "--out", str(root)], "something other than a run"),
    )
    for words, message in wrong:
        assert main(["own", *words], FAKE_WORKER) == 2
        said = capsys.readouterr().err.splitlines()
        assert message in said[-1]
        assert [line for line in said if line.startswith("gfl: ")] == said[-1:]


def test_a_run_that_fails_says_where_its_log_is(data, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE", "fail")
    with pytest.raises(UserError, match=r"the loss is not finite .*train\.log"):
        own.train(own.plan(data, own.Settings(epochs=2)), tmp_path / "mine", worker=FAKE_WORKER)


def test_a_few_real_iterations_leave_a_detector_of_the_folders_classes(data, tmp_path, capsys):
    """Two epochs of two iterations: weights, the twelve metrics, detections under their ids."""
    plan = own.plan(data, own.Settings(scale="laptop", size=64, epochs=2, batch=3, device="cpu"))
    result = own.train(plan, tmp_path / "runs/own/mine")
    assert result.record.state == "finished"
    assert result.record.metrics.keys() == set(METRICS)
    assert [point["iter"] for point in result.record.curve] == [1, 2, 3, 4]
    found = json.loads((result.folder / "predictions.json").read_text())["detections"]
    assert {one["category_id"] for one in found} <= {7, 3}
    each = result.of_each_class()
    assert list(each) == ["nut", "bolt"]
    aps = [metrics["AP"] for metrics in each.values()]
    assert result.record.metrics["AP"] == pytest.approx(sum(aps) / 2)
    from gfl.predictions import trained

    assert trained.detector(result.folder).classes == ("nut", "bolt")
    picture = str(data.val_images / "val_0.png")
    for named in (result.record.id, str(result.folder)):
        words = ["detect", "--run", named, picture, "--runs", str(tmp_path / "runs"), "--json"]
        assert main([*words, "--out", str(tmp_path / "drawn")]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["run"] == result.record.id


def _dirty(root: Path) -> None:
    """What tools leave out or write otherwise, in both splits: each has one meaning."""
    for split in ("train", "val"):
        content = json.loads(annotation_file(root, split).read_text())
        content["categories"].insert(0, {"id": 0, "name": "hardware", "supercategory": "none"})
        for image in content["images"]:
            del image["width"], image["height"]
            image["file_name"] = f"C:\\images\\{image['file_name']}"
        for i, one in enumerate(content["annotations"]):
            one["id"] = i
            one["image_id"] = str(one["image_id"])
            one["category_id"] = float(one["category_id"])
            del one["area"], one["iscrowd"]
        if split == "val":
            content["categories"].reverse()
        annotation_file(root, split).write_bytes(json.dumps(content).encode("utf-16"))


def test_repaired_data_give_the_training_of_clean_ones(root, data, tmp_path):
    """The same losses and metrics to the bit, read back from the run's folder by whatever reads."""
    settings = {"scale": "laptop", "size": 64, "epochs": 2, "batch": 3, "device": "cpu"}
    clean = own.train(own.plan(data, own.Settings(**settings)), tmp_path / "runs/clean")
    each = clean.of_each_class()
    _dirty(root)
    repaired = own.plan(own.read(root), own.Settings(**settings))
    result = own.train(repaired, tmp_path / "runs/repaired")
    assert result.record.curve == clean.record.curve
    assert result.record.metrics == clean.record.metrics
    assert result.of_each_class() == each
    assert repaired.run.id != own.plan(data, own.Settings(**settings)).run.id
    # Stock readers, too: plain ASCII JSON beside the weights.
    from pycocotools import coco as stock_reader

    for split in ("train", "val"):
        stock = stock_reader.COCO(str(result.folder / f"annotations-{split}.json"))
        assert [c["name"] for c in stock.dataset["categories"]] == ["nut", "bolt"]
    # Read anew, it is the same run, and finished.
    same = own.plan(own.read(root), own.Settings(**settings))
    again = own.train(same, result.folder, worker=FAKE_WORKER)
    assert again.record == result.record


def test_a_run_of_sound_files_has_the_id_that_it_always_had(data, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    profile = own.plan(data).profile
    resolved = config.build(own.GFL, profile, 0)
    part = {"annotations", "images", "sha256"}
    assert [set(resolved["dataset"][split]) for split in ("train", "val")] == [part, part]


def test_what_was_repaired_is_printed_and_what_was_chosen_passed_on(root, tmp_path, capsys):
    _dirty(root)
    command = ["own", str(root), "--out", str(tmp_path / "mine"), *SHORT, "--dry-run"]
    assert main(command, FAKE_WORKER) == 0
    said = capsys.readouterr().err
    assert "note: instances_train2017.json (train): " in said
    assert "category 'hardware' left out" in said
    assert main([*command, "--boxes", "xyxy"], FAKE_WORKER) == 2
    assert "negative size" in capsys.readouterr().err
    train = str(annotation_file(root, "train"))
    assert main([*command, "--train", train, "--split", "0.5"], FAKE_WORKER) == 0
    assert "train: 3 images, 6 objects; val: 3 images, 6 objects" in capsys.readouterr().out
    assert main([*command, "--split", "2"], FAKE_WORKER) == 2
    assert "--split '2': expected a number above 0 and below 1" in capsys.readouterr().err


def test_the_home_folder_is_expanded_in_every_argument(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert main(["own", "~/parts", "--out=~/mine", *SHORT, "--dry-run"], FAKE_WORKER) == 0
    assert f"into: {root.parent}/mine" in capsys.readouterr().out
    words = ["run", "table-3", "--profile=coco", "--data=~/gone", f"--runs={tmp_path / 'runs'}"]
    assert main([*words, f"--results={tmp_path / 'results'}"], FAKE_WORKER) == 2
    assert f"{root.parent}/gone/ is missing" in capsys.readouterr().err
