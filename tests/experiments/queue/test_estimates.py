"""What runs will cost, from what others have cost."""

import ast
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
import recorded

from experiments import profiles
from experiments.matrix import Run, plan
from experiments.queue import estimates
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl import config
from gfl.config import schedule_of
from gfl.experiment import AnyExperiment, Experiment, Profile, System
from gfl.records.record import Store, run_id
from gfl.shapes import embedded
from gfl.shapes.embedded import ShapesSpec
from gfl.training.worker import embedded_root

SMOKE, LAPTOP, COCO = (profiles.get(name) for name in ("smoke", "laptop", "coco"))
DIRAC, GENERAL = Experiment(), Experiment(boxes="general", dfl=True)
FCOS = Experiment(host="fcos")


def run(experiment: AnyExperiment, profile: Profile = SMOKE, seed: int = 0) -> Run:
    return Run(run_id(experiment, profile, seed), experiment, profile, seed, ("table-3/x",))


def local(store: Store, of: Run, seconds: float) -> Path:
    folder = store.run_dir(of.profile.name, of.id)
    recorded.of(of, seconds=seconds).save(folder / "record.json")
    return folder


def test_a_run_takes_what_its_kind_took_here(store: Store) -> None:
    assert estimates.costs(SMOKE, store).seconds(run(DIRAC)) is None
    local(store, run(DIRAC), 10.0)
    local(store, run(DIRAC, seed=1), 20.0)
    local(store, run(GENERAL), 45.0)
    costs = estimates.costs(SMOKE, store)
    assert costs.source == "of local runs"
    assert costs.seconds(run(replace(DIRAC, quality="joint"))) == pytest.approx(15.0)
    assert costs.seconds(run(GENERAL, seed=7)) == pytest.approx(45.0)
    assert costs.seconds(run(FCOS)) is None
    assert costs.seconds(run(GENERAL), epochs_done=1) == pytest.approx(22.5)  # of two epochs


def test_records_of_another_scale_tell_nothing(store: Store) -> None:
    local(store, run(DIRAC), 10.0)
    assert estimates.costs(LAPTOP, store).source == ""
    longer = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=9))
    assert estimates.costs(longer, store).seconds(run(DIRAC)) is None


def test_the_references_times_serve_where_there_are_no_own(store: Store) -> None:
    recorded.of(run(DIRAC), seconds=30.0).save(store.reference_path("smoke", run(DIRAC).id))
    costs = estimates.costs(SMOKE, store)
    assert costs.source == "of the reference"
    assert costs.seconds(run(DIRAC, seed=5)) == pytest.approx(30.0)
    local(store, run(DIRAC, seed=1), 10.0)
    assert estimates.costs(SMOKE, store).seconds(run(DIRAC)) == pytest.approx(10.0)


def test_twice_the_schedule_takes_twice_the_time(store: Store) -> None:
    larger = Experiment(quality="joint", boxes="general", dfl=True, lasting="2x-ms")
    local(store, run(GENERAL, COCO), 100.0)
    assert estimates.costs(COCO, store).seconds(run(larger, COCO)) == pytest.approx(200.0)
    local(store, run(larger, COCO), 300.0)  # 150 in the time of the plain schedule
    assert estimates.costs(COCO, store).seconds(run(larger, COCO)) == pytest.approx(250.0)
    deeper = replace(larger, backbone="x101-32x4d-dcn")
    assert estimates.costs(COCO, store).seconds(run(deeper, COCO)) is None


def test_a_variants_own_schedule_counts(store: Store) -> None:
    """A sweep's variant is of another profile than that which the times are of."""
    local(store, run(DIRAC), 10.0)
    once = replace(SMOKE, schedule=replace(SMOKE.schedule, epochs=1))
    assert estimates.costs(SMOKE, store).seconds(run(DIRAC, once)) == pytest.approx(5.0)


def test_adam_has_three_tensors_a_weight_in_a_checkpoint(store: Store) -> None:
    costs = estimates.costs(COCO, store)
    corners, regions = (
        run(System(*one), COCO) for one in (("cornernet", "hg104"), ("tsd", "r101"))
    )
    weights = estimates.WEIGHTS["coco", estimates.SYSTEMS]
    assert costs.working_bytes([corners], jobs=1) == 3 * 3 * weights
    assert costs.working_bytes([regions], jobs=1) == 3 * 2 * weights


def test_ssd512_on_coco_has_a_schedule_of_its_own(store: Store) -> None:
    ssd = run(Experiment(host="ssd512", quality="none"), COCO)
    folder = local(store, ssd, 1200.0)  # 120 epochs
    assert estimates.costs(COCO, store).seconds(ssd) == pytest.approx(1200.0)
    # Newer records name the schedule that was the run's.
    trained = replace(COCO, schedule=schedule_of(ssd.experiment, COCO))
    recorded.of(ssd, profile=asdict(trained), seconds=1200.0).save(folder / "record.json")
    costs = estimates.costs(COCO, store)
    assert costs.seconds(ssd) == pytest.approx(1200.0)
    assert costs.seconds(ssd, epochs_done=60) == pytest.approx(600.0)
    joint = run(Experiment(host="ssd512", quality="joint"), COCO)
    assert costs.seconds(joint) == pytest.approx(1200.0)


def test_records_of_before_the_bins_were_named_by_their_end_are_read(store: Store) -> None:
    wide = run(replace(GENERAL, delta=2.0))
    described = asdict(wide.experiment)
    older = {k: v for k, v in described.items() if k not in ("y_n", "backbone", "lasting")}
    folder = store.run_dir("smoke", wide.id)
    recorded.of(wide, experiment=older | {"n": 8}, seconds=30.0).save(folder / "record.json")
    assert estimates.costs(SMOKE, store).seconds(wide) == pytest.approx(30.0)
    unlike = recorded.of(run(DIRAC), experiment={"host": "yolo"}, seconds=9.0)
    unlike.save(store.run_dir("smoke", run(DIRAC).id) / "record.json")
    assert estimates.costs(SMOKE, store).seconds(wide) == pytest.approx(30.0)


def test_records_of_before_a_profile_had_all_its_keys_are_read(store: Store) -> None:
    older = {name: value for name, value in asdict(SMOKE).items() if name not in ("own", "gpus")}
    recorded.of(run(DIRAC), profile=older, seconds=30.0).save(
        store.reference_path("smoke", run(DIRAC).id)
    )
    assert estimates.costs(SMOKE, store).seconds(run(DIRAC)) == pytest.approx(30.0)
    # A key that it lacks has its default: two devices are another profile.
    two = replace(SMOKE, gpus=2)
    assert estimates.costs(two, store).seconds(run(DIRAC, two)) is None


def test_a_fresh_clone_knows_what_every_run_of_the_reference_takes(tmp_path: Path) -> None:
    costs = estimates.costs(LAPTOP, Store(tmp_path / "runs", ROOT / "results"))
    assert costs.source == "of the reference"
    runs = plan(catalogue.TABLES.values(), LAPTOP, [0])
    unknown = {run.rows[0].partition("/")[0] for run in runs if costs.seconds(run) is None}
    assert unknown <= {"table-4"}  # whose systems the reference may not have
    assert len(runs) >= 35


def test_disk_is_what_finished_folders_take(store: Store) -> None:
    costs = estimates.costs(SMOKE, store)
    unmeasured = 1_064_000 + 16 * 4600  # weights and detections on 16 images
    assert costs.bytes(run(DIRAC)) == unmeasured
    folder = local(store, run(DIRAC), 1.0)
    (folder / "log").mkdir()
    (folder / "log" / "a").write_bytes(b"x" * 1000)
    size = (folder / "record.json").stat().st_size + 1000
    assert estimates.costs(SMOKE, store).bytes(run(DIRAC, seed=2)) == size
    # While they train: three checkpoints of weights and two moments, of two at a time.
    runs = [run(DIRAC, seed=seed) for seed in range(5)]
    assert costs.working_bytes(runs, jobs=2) == 2 * 3 * 3 * 1_064_000


def test_the_data_set_takes_disk_until_it_is_there(data: Path) -> None:
    spec = ShapesSpec(image_size=64, train=3, val=2, seed=8)
    tiny, root = replace(SMOKE, dataset=spec), embedded_root(spec)
    assert root.parent == data
    pixels = 3 * 64 * 64
    assert estimates.data_bytes(tiny) == 5 * pixels
    embedded.write(spec, root)
    assert estimates.size_of(root) == pytest.approx(5 * pixels, rel=0.15)  # and annotations
    assert estimates.data_bytes(tiny) == 0
    assert estimates.data_bytes(COCO) == 0


def test_several_at_a_time_take_their_share_of_the_time() -> None:
    assert estimates.in_all([], 2) == 0
    assert estimates.in_all([5, 5, 5], 1) == 15
    assert estimates.in_all([5, 1, 1, 5], 2) == 7  # the last begins when the second one is done


def test_sizes_in_words() -> None:
    found = [estimates.in_words(size) for size in (0, 999, 1500, 12e6, 3.2e9, 77e9, 2e12)]
    assert found == ["0 B", "999 B", "1.5 kB", "12 MB", "3.2 GB", "77 GB", "2.0 TB"]


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_the_weights_are_as_large_as_said(name: str) -> None:
    largest: dict[tuple[str, str], int] = {}
    for run in plan(catalogue.TABLES.values(), profiles.get(name), [0]):
        model = config.build(run.experiment, run.profile, 0)["model"]
        rest = {key: model.get(key) for key in ("train_cfg", "test_cfg")}
        if isinstance(run.experiment, System):
            key = name, estimates.SYSTEMS
            parts = ({k: v for k, v in model.items() if k != "data_preprocessor"},)
        else:
            key = name, run.experiment.backbone
            parts = (model["backbone"], model["neck"], model["bbox_head"] | rest)
        largest[key] = max(largest.get(key, 0), sum(size(repr(part)) for part in parts))
    said = {key: bytes for key, bytes in estimates.WEIGHTS.items() if key[0] == name}
    assert said == pytest.approx(largest, rel=0.01)


@cache
def size(part: str) -> int:
    """The bytes of a part of a model, of which many runs have the same."""
    import torch
    from mmdet_models import build

    with torch.device("meta"):
        state = build(ast.literal_eval(part)).state_dict()
    return sum(value.numel() * value.element_size() for value in state.values())
