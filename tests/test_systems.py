"""The speed of systems: loads are what they are said to be, ratios are those of the rounds."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import gfl.register  # noqa: F401  before mmdet

# isort: split
import pytest
import torch
from torch import Tensor
from trident_made import small

from analysis.speed.record import paths
from analysis.speed.systems import Round, Speeds, Subject
from benchmarks import keypoints, systems
from benchmarks.detectors import draw_pictures
from benchmarks.loads import counted, is_of_corners, kind_of, load
from benchmarks.systems import ANCHOR, Plan
from experiments.profiles import LAPTOP, SMOKE
from gfl import config
from gfl.config.systems.method import bundled
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.records.record import Store

GFL = Experiment(quality="joint", boxes="general", dfl=True)
LITTLE = Plan("laptop", (128, 128), (128, 128), pictures=2, rounds=2, candidates=40)
PICTURES = draw_pictures(LAPTOP, LITTLE.pictures, LITTLE.image)
SUBJECT = Subject("0", "dense", (64, 64), 10, 100, {"candidates": 1000.0}, {"candidates": 1000})


def dense() -> dict[str, Any]:
    return config.build(GFL, SMOKE, 0)["model"]


def two_stage() -> dict[str, Any]:
    return small(values={"backbone.base_channels": 8, "backbone.stem_channels": 8, **WIDTHS})


WIDTHS = {
    "rpn_head.in_channels": 32, "roi_head.shared_head.in_channels": 32,
    "roi_head.bbox_roi_extractor.out_channels": 32,
}  # fmt: skip


def corners(type: str = "CornerHead") -> dict[str, Any]:
    file = {
        "CornerHead": "cornernet/cornernet_hourglass104_8xb6",
        "CentripetalHead": "centripetalnet/centripetalnet_hourglass104_16xb6-crop511",
    }[type]
    model = bundled(f"{file}-210e-mstest_coco.py")["model"]
    model["backbone"] |= {
        "num_stacks": 1, "downsample_times": 2, "stage_channels": [16, 16, 16],
        "stage_blocks": [1, 1, 1], "feat_channel": 16,
    }  # fmt: skip
    model["bbox_head"] |= {"num_classes": 8, "num_feat_levels": 1, "in_channels": 16}
    model["test_cfg"]["corner_topk"] = 40
    return model


SYSTEMS = {ANCHOR: dense, "two-stage": two_stage, "corners": corners}


@pytest.mark.parametrize(
    ("make", "kind", "targets"),
    [
        (dense, "dense", {"candidates": 40}),
        (two_stage, "two-stage", {"candidates": 300, "proposals": 150}),
        (corners, "corners", {"candidates": 300}),
        (lambda: corners("CentripetalHead"), "corners", {"candidates": 300}),
    ],
    ids=["dense", "two-stage", "CornerNet", "CentripetalNet"],
)
def test_a_load_is_its_target(make, kind, targets):
    made, subject = load(make(), PICTURES, candidates=40)
    assert kind_of(made.model) == subject.kind == kind
    assert is_of_corners(make()) == (kind == "corners")
    assert subject.targets == targets
    assert not subject.refusal
    assert 0 < subject.counts["detections"] <= 100
    assert subject.parameters == sum(p.numel() for p in made.model.parameters())
    assert counted(made) == (subject.counts, subject.multiply_adds)  # measured again, the same
    assert made.detect(1) == made.detect(3)  # of two pictures


def test_multiply_adds_are_those_of_convolutions_and_products():
    """Against hooks on every layer; the plain head has nothing else that multiplies matrices."""
    made, subject = load(dense(), PICTURES, candidates=40)
    seen = []

    def count(module: Any, _: Any, output: Tensor) -> None:
        height, width = module.kernel_size
        seen.append(output.numel() * module.in_channels // module.groups * height * width)

    for module in made.model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    made.detect(0)
    assert sum(seen) <= subject.multiply_adds <= 1.01 * sum(seen)


class Named(NamedTuple):
    heat: Tensor
    offset: Tensor
    tag: Tensor | None


@pytest.mark.parametrize(("topk", "classes", "side"), [(100, 80, 128), (70, 80, 128), (40, 8, 32)])
def test_prepared_keypoints_are_peaks_whose_pairs_add_up(topk, classes, side):
    wanted = keypoints.sizes(topk, 300)
    assert sum(wanted) <= topk
    assert abs(sum(m * m for m in wanted) - 300) <= 10
    heat = torch.randn(2, classes, side, side)
    outputs = tuple([Named(heat, heat[:, :2], heat[:, :1] if tagged else None)]
                    for tagged in (True, True, False))  # fmt: skip
    made = keypoints.prepared(outputs, {"corner_topk": topk}, 300)
    first, second, center = (levels[-1].heat for levels in made)
    for corner in (first, second):
        assert corner.shape == heat.shape
        assert Counter((corner[0] > 0).flatten(1).sum(1).tolist()) + Counter() == Counter(
            [*wanted, *[0] * (classes - len(wanted))]
        )
        peaks = torch.nn.functional.max_pool2d(corner, 3, 1, 1) == corner
        assert (peaks & (corner > 0)).sum() == 2 * sum(wanted)
    assert (center[0] > 0).sum() == len(wanted)
    for label in range(len(wanted)):
        top_left, bottom_right, middle = (
            (x[0, label] > 0).nonzero() for x in (first, second, center)
        )
        assert (top_left.amax(0) < middle[0]).all()
        assert (bottom_right.amin(0) > middle[0]).all()
    assert outputs[0][0].heat is heat  # untouched


def test_more_groups_than_classes_are_refused():
    outputs = ([torch.zeros(1, 5, 32, 32)],) * 6
    with pytest.raises(ValueError, match="31 groups of keypoints need as many classes, not 5"):
        keypoints.prepared(outputs, {"corner_topk": 100}, 300)


def test_a_round_takes_each_system_once_and_the_anchor_at_the_start_and_in_the_middle():
    taken = []

    def take(name: str, picture: int) -> float:
        taken.append(name)
        return float(len(taken))

    names = [f"system {i}" for i in range(6)]
    rounds = [systems.one_round(names, ANCHOR, number, 4, take) for number in range(5)]
    orders = [taken[i : i + 8] for i in range(0, 40, 8)]
    for order, one in zip(orders, rounds, strict=True):
        assert order[0] == order[4] == ANCHOR
        assert Counter(order) == {ANCHOR: 2, **dict.fromkeys(names, 1)}
        assert one.anchor[1] - one.anchor[0] == 4
        assert one.seconds.keys() == set(names)
    assert len({tuple(order) for order in orders}) == 5
    assert [one.picture for one in rounds] == [0, 1, 2, 3, 0]
    again = systems.one_round(names, ANCHOR, 3, 4, lambda *_: 1.0)
    assert list(again.seconds) == list(rounds[3].seconds)
    alone = systems.one_round([], ANCHOR, 0, 1, take)
    assert alone.anchor[1] - alone.anchor[0] == 1


def record(seconds: list[tuple[float, float, float]]) -> Speeds:
    """Return a record of rounds: the anchor's two times, and another system's."""
    rounds = (Round(i, 0, (a, b), {"other": c}) for i, (a, b, c) in enumerate(seconds))
    return Speeds({"commit": "x"}, ANCHOR, {ANCHOR: SUBJECT, "other": SUBJECT}, tuple(rounds))


def test_a_ratio_is_the_median_over_rounds_to_the_mean_of_the_anchors_times():
    ratio = record([(1.0, 3.0, 4.0), (2.0, 2.0, 1.0), (4.0, 4.0, 4.0)]).ratio("other")
    assert ratio is not None
    assert (ratio.value, ratio.rounds) == (1.0, 3)  # of 0.5, 2 and 1
    assert 0.5 <= ratio.low <= 1 <= ratio.high <= 2
    assert ratio.images_per_second == 0.5  # the anchor's median is 2 s
    anchor = record([(1.0, 3.0, 4.0), (2.0, 2.0, 1.0)]).ratio(ANCHOR)
    assert anchor is not None
    assert (anchor.value, anchor.images_per_second) == (1.0, 0.5)


def test_drift_cancels():
    """A machine that gets ever slower changes no ratio."""
    ratio = record([(k, k, 2.0 * k) for k in (1.0, 2.0, 5.0, 9.0)]).ratio("other")
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    noise = record([(2.0, 1.0, 1.0), (1.0, 2.0, 1.0), (3.0, 3.0, 1.0)]).noise()
    assert noise is not None
    assert (noise.value, noise.low, noise.high) == (1.0, 0.5, 2.0)


def test_a_load_that_misses_its_target_is_refused():
    missed = Subject("0", "dense", (64, 64), 1, 1, {"candidates": 890.0}, {"candidates": 1000})
    speeds = Speeds({}, ANCHOR, {ANCHOR: SUBJECT, "other": missed}, record([(1, 1, 1)]).rounds)
    assert missed.refusal == "890 candidates instead of 1000"
    assert speeds.ratio("other") is None
    assert "890 candidates instead of 1000" in "\n".join(systems.summary(speeds))
    assert not Subject("0", "dense", (1, 1), 1, 1, {"a": 910.0}, {"a": 1000}).refusal
    assert Subject("0", "dense", (1, 1), 1, 1, {}, {"a": 10}).refusal == "0 a instead of 10"


def test_a_record_is_read_back_and_changes_are_noticed(tmp_path):
    path = tmp_path / "speeds.json"
    written = record([(1.0, 3.0, 4.0)])
    written.save(path)
    assert Speeds.load(path) == written
    content = json.loads(path.read_text())
    content["rounds"][0]["seconds"]["other"] = 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="its content does not match its checksum"):
        Speeds.load(path)
    for text, why in (
        ("[]", "not a JSON object"),
        ("{", "Expecting"),
        ('{"schema": 9}', "schema 9"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=why):
            Speeds.load(path)


def test_three_systems_are_measured_and_a_stopped_measurement_goes_on(
    tmp_path, monkeypatch, capsys
):
    plan = Plan(**vars(LITTLE) | {"together": 1})
    configs = {name: make() for name, make in SYSTEMS.items()}
    inherited, stopped = systems.one_round, []

    def stop(*args: Any) -> Round:
        if len(stopped) == 4:  # warm-up and two rounds of the first group, warm-up of the second
            raise KeyboardInterrupt
        stopped.append(args)
        return inherited(*args)

    monkeypatch.setattr(systems, "one_round", stop)
    with pytest.raises(KeyboardInterrupt):
        systems.measure_all(configs, plan, tmp_path)
    (path,) = tmp_path.iterdir()
    before = Speeds.load(path)
    assert [list(one.seconds) for one in before.rounds] == [["two-stage"]] * 2
    monkeypatch.setattr(systems, "one_round", inherited)
    assert systems.measure_all(configs, plan, tmp_path) == path
    after = Speeds.load(path)
    assert after.rounds[:2] == before.rounds
    assert Counter(name for one in after.rounds for name in one.seconds) == {
        "two-stage": 2, "corners": 2
    }  # fmt: skip
    assert [one.number for one in after.rounds] == [0, 1, 0, 1]
    assert after.subjects["corners"].image == (128, 128)
    for name in SYSTEMS:
        ratio = after.ratio(name)
        assert ratio is not None
        assert ratio.rounds == (4 if name == ANCHOR else 2)
        assert f"{name}: " in capsys.readouterr().out or name != ANCHOR
    with pytest.raises(UserError, match="measured with another candidates; --again begins anew"):
        systems.measure_all(configs, Plan(**vars(plan) | {"candidates": 20}), tmp_path)
    configs["corners"]["test_cfg"]["corner_topk"] = 39
    with pytest.raises(UserError, match="measured with another corners;"):
        systems.measure_all(configs, plan, tmp_path)
    with pytest.raises(UserError, match="the anchor, is not among the systems"):
        systems.measure_all({"two-stage": {}}, plan, tmp_path)


def test_the_other_benchmarks_pages_leave_this_record_alone(tmp_path):
    folder = tmp_path / "benchmarks"
    record([(1.0, 3.0, 4.0)]).save(folder / "systems-laptop-x.json")
    (folder / "other.json").write_text("{}")
    assert paths(Store(tmp_path, tmp_path)) == [folder / "other.json"]


def test_half_precision_needs_cuda(tmp_path):
    with pytest.raises(UserError, match="CUDA's"):
        systems.measure_all({ANCHOR: {}}, Plan(**vars(LITTLE) | {"half": True}), tmp_path)


def test_a_plan_is_of_its_profiles_size():
    assert systems.plan("coco").image == (800, 1333)
    assert systems.plan("coco").corners == (511, 767)
    assert systems.plan("laptop", rounds=3).image == (128, 128)
    assert systems.plan("laptop", rounds=3).rounds == 3
