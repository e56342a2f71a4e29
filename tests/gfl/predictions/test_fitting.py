"""mmdet's own detectors, whole, as others trained them: their weights in the rows' models."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import mmdet
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet_models import build
from mmengine.config import Config
from torch import Tensor, nn

from experiments import matrix, profiles
from gfl.data.weights import Checkpoint
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.hosts import ABLATED_HOSTS, HOSTS, HostName
from gfl.predictions import fitting, trained
from gfl.records.record import Request

MIM = Path(mmdet.__file__).parent / ".mim"
GFL, ATSS, FCOS = "table-3/both", "table-3/none", "table-1a/centerness-branch/FCOS"
RETINANET, FOVEABOX, SSD512 = "table-1b/RetinaNet", "table-1b/FoveaBox", "table-1b/SSD512"
STOCK = {
    GFL: "gfl/gfl_r50_fpn_1x_coco.py",
    ATSS: "atss/atss_r50_fpn_1x_coco.py",
    FCOS: "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
    RETINANET: "retinanet/retinanet_r50_fpn_1x_coco.py",
    FOVEABOX: "foveabox/fovea_r50_fpn_4xb4-1x_coco.py",
    SSD512: "ssd/ssd512_coco.py",
}
State = dict[str, Tensor]
COCO = profiles.get("coco")


@cache
def stock(config: str, classes: int = 80) -> nn.Module:
    """mmdet's detector with random weights that find something."""
    wanted: Any = Config.fromfile(MIM / "configs" / config).model
    wanted.backbone.init_cfg = None
    wanted.bbox_head.num_classes = classes
    if wanted.bbox_head.type == "SSDHead":
        wanted.bbox_head.type = "PlainSSDHead"  # mmdet's cannot predict; the names are the same
    torch.manual_seed(0)
    model = build(wanted)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # of SSD, whose VGG has no norms
            if wanted.bbox_head.type == "PlainSSDHead" and parameter.dim() == 4:
                nn.init.kaiming_normal_(parameter)
            if "l2_norm" in name:
                nn.init.constant_(parameter, 20.0)  # not initialised by mmdet's constructor
        for name, parameter in model.bbox_head.named_parameters():
            if parameter.dim() == 4 and re.search(r"_cls|cls_convs\.\d\.0\.w", name):
                nn.init.kaiming_normal_(parameter)
            if name.endswith("_cls.bias"):
                nn.init.constant_(parameter, -2.0)
    return model.eval()


def fit(row: str, state: State, config: str | None = None) -> trained.Trained:
    run = matrix.single(row, COCO, [0])
    request = Request("x", run.experiment, COCO, 0, None, "cpu", 1, None, None, False)
    checkpoint = Checkpoint(Path("file.pth"), "0" * 64, state, None, config)
    return trained.of_others(checkpoint, request, Path("nowhere"))


def refusal(row: str, state: State) -> list[str]:
    with pytest.raises(UserError) as caught:
        fit(row, state)
    lines = str(caught.value).splitlines()
    assert lines[0] == "file.pth does not fit this row:"
    return [line.strip() for line in lines[1:]]


@torch.no_grad()
def found_by(model: Any, image: Tensor) -> Any:
    sample = DetDataSample(
        metainfo={
            "img_shape": tuple(image.shape[-2:]),
            "ori_shape": tuple(image.shape[-2:]),
            "batch_input_shape": tuple(image.shape[-2:]),
            "pad_shape": tuple(image.shape[-2:]),
            "scale_factor": (1.0, 1.0),
        }
    )
    (result,) = model.predict(image, [sample], rescale=False)
    return result.pred_instances


def old_names(row: str, state: Iterable[tuple[str, Tensor]]) -> State:
    """The names of mmdet 2.x before FCOS and FoveaBox had a common head, and SSD a neck."""
    older = {
        FCOS: ((r"bbox_head\.conv_", "bbox_head.fcos_"),),
        FOVEABOX: ((r"bbox_head\.conv_", "bbox_head.fovea_"),),
        SSD512: (
            (r"neck\.l2_norm\.", "backbone.l2_norm."),
            (r"(bbox_head\.\w+_convs\.\d+)\.0\.", r"\1."),
        ),
        GFL: ((r"bbox_head\.integral\.project", "data_preprocessor"),),  # not in every version
    }
    found = {}
    for name, value in state:
        for pattern, other in older.get(row, ()):
            name = re.sub("^" + pattern, other, name)
        if extra := re.match(r"neck\.extra_layers\.(\d+)\.(\d)\.conv\.(\w+)", name):
            name = f"backbone.extra.{2 * int(extra[1]) + int(extra[2])}.{extra[3]}"
        found[name] = value
    found.pop("data_preprocessor", None)
    return found


@pytest.mark.parametrize("named", ["3.x", "2.x"])
@pytest.mark.parametrize("row", STOCK)
def test_the_row_detects_what_mmdets_detector_does(row: str, named: str) -> None:
    theirs = stock(STOCK[row])
    state = theirs.state_dict()
    ours = fit(row, state if named == "3.x" else old_names(row, state.items()))
    size = 512 if row == SSD512 else 128
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    expected, found = found_by(theirs, image), found_by(ours.model, image)
    assert len(expected) > 10
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-5, atol=1e-3)


def test_old_names_of_ssd_are_those_that_mmdets_converter_takes(tmp_path: Path) -> None:
    """Its tool writes today's names for the old ones."""
    spec = importlib.util.spec_from_file_location(
        "upgrade", MIM / "tools/model_converters/upgrade_ssd_version.py"
    )
    assert spec is not None
    assert spec.loader is not None
    upgrade = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(upgrade)
    state = {n: torch.zeros(1) for n in stock(STOCK[SSD512]).state_dict()}
    config = "\nmodel = dict(bbox_head=dict(type='SSDHead'))"
    content = {"meta": {"config": config}, "state_dict": old_names(SSD512, state.items())}
    torch.save(content, tmp_path / "old.pth")
    upgrade.convert(tmp_path / "old.pth", tmp_path / "new.pth")
    assert torch.load(tmp_path / "new.pth")["state_dict"].keys() == state.keys()


@pytest.mark.parametrize(
    ("config", "row"),
    [
        ("gfl/gfl_r50_fpn_ms-2x_coco.py", "table-4/GFL R-50"),
        ("gfl/gfl_x101-32x4d_fpn_ms-2x_coco.py", "table-4/GFL X-101-32x4d"),
    ],
)
def test_table_4s_rows_take_mmdets(config: str, row: str) -> None:
    fit(row, stock(config).state_dict())


def test_this_projects_own_weights_fit_their_row() -> None:
    ours = fit(ATSS, stock(STOCK[ATSS]).state_dict())
    again = fit(ATSS, dict(ours.model.state_dict()))
    assert all(
        map(torch.equal, again.model.state_dict().values(), ours.model.state_dict().values())
    )


def test_what_is_missing_left_over_or_of_another_shape_is_named() -> None:
    state = dict(stock(STOCK[RETINANET]).state_dict())
    del state["neck.fpn_convs.4.conv.bias"]
    state["bbox_head.extra\x1b[31m.weight"] = torch.zeros(1)
    state["backbone.conv1.weight"] = torch.zeros(64, 1, 7, 7)
    assert refusal(RETINANET, state) == [
        "1 missing: neck.fpn_convs.4.conv.bias",
        "1 left over: bbox_head.extra\\x1b[31m.weight",
        "1 of another shape: backbone.conv1.weight [64, 1, 7, 7], expected [64, 3, 7, 7]",
    ]
    missing, *_ = refusal(RETINANET, {n: t for n, t in state.items() if "bbox_head" in n})
    assert re.fullmatch(r"\d+ missing: [\w.]+(?:, [\w.]+){4} and \d+ more", missing)


def test_only_batchnorms_counts_may_lack() -> None:
    state = stock(STOCK[ATSS]).state_dict()
    counts = [name for name in state if name.endswith("num_batches_tracked")]
    assert len(counts) > 50
    fit(ATSS, {name: value for name, value in state.items() if name not in counts})


@pytest.mark.parametrize(
    ("row", "other", "hint"),
    [
        (ATSS, FCOS, "this looks like an FCOS head; the row has an ATSS head"),
        (FCOS, ATSS, "this looks like an ATSS head; the row has an FCOS head"),
        (GFL, ATSS, "this looks like an ATSS head; the row has a GFL head"),
        (
            ATSS,
            GFL,
            "the file has 17 channels per side of a box, the row 1 channel per side of a box",
        ),
        (FOVEABOX, RETINANET, "this looks like a RetinaNet head; the row has a FoveaBox head"),
        (FOVEABOX, FCOS, "this looks like an FCOS head; the row has a FoveaBox head"),
        (RETINANET, SSD512, "this looks like an SSD detector; the row has a RetinaNet head"),
        ("table-4/GFL R-101", GFL, "the file has a ResNet-50, the row a ResNet-101"),
        ("table-2b/12", GFL, "the file has 17 channels per side of a box, the row 13 channels per"),
    ],
)
def test_another_detector_is_recognised(row: str, other: str, hint: str) -> None:
    assert any(hint in line for line in refusal(row, dict(stock(STOCK[other]).state_dict())))


@pytest.mark.parametrize(
    ("row", "config", "classes", "hint"),
    [
        (RETINANET, STOCK[RETINANET], 1, "the file has 1 class, the row 80 classes"),
        (SSD512, STOCK[SSD512], 3, "the file has 3 classes, the row 80 classes"),
        (GFL, STOCK[GFL], 20, "the file has 20 classes, the row 80 classes"),
        (SSD512, "ssd/ssd300_coco.py", 80, "the file has 6 levels, the row 7 levels"),
        (
            "table-4/GFL R-101-DCN",
            "gfl/gfl_r101-dconv-c3-c5_fpn_ms-2x_coco.py",
            80,
            "the file has deformable convolution version 1 in c3, c4, c5, the row deformable "
            "convolution version 2 in c3, c4, c5",
        ),
    ],
)
def test_another_network_is_recognised(row: str, config: str, classes: int, hint: str) -> None:
    assert f"hint: {hint}" in refusal(row, dict(stock(config, classes).state_dict()))


def test_a_network_of_another_depth_is_told_by_its_blocks() -> None:
    state = dict(stock(STOCK[GFL]).state_dict())
    shallow = {n: t for n, t in state.items() if not re.match(r"backbone\.layer3\.[2-5]\.", n)}
    said = "hint: the file has a ResNet with 2 blocks in its third stage, the row a ResNet-50"
    assert said in refusal(GFL, shallow)


@pytest.mark.parametrize(
    "name",
    [
        "bbox_head.gfl_reg.weight",
        "bbox_head.gfl_cls.weight",
        "backbone.layer1.0.conv2.weight",
        "backbone.layer2.0.conv2.conv_offset.weight",
        "backbone.layerX.0.conv2.conv_offset.weight",
        "x.conv2.conv_offset.weight",
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (18,)])
def test_a_tensor_of_no_shape_is_refused_as_others_are(name: str, shape: tuple[int, ...]) -> None:
    state = dict(stock(STOCK[GFL]).state_dict()) | {name: torch.zeros(shape)}
    assert any(name in line for line in refusal(GFL, state))


def test_two_tensors_for_one_are_refused() -> None:
    state = dict(stock(STOCK[ATSS]).state_dict())
    state["bbox_head.gfl_cls.weight"] = torch.zeros_like(state["bbox_head.atss_cls.weight"])
    with pytest.raises(UserError) as caught:
        fit(ATSS, state)
    pair = "bbox_head.atss_cls.weight and bbox_head.gfl_cls.weight"
    assert str(caught.value).endswith(f"two tensors for one of this row's: {pair}")


def test_centerness_is_taken_for_no_other_quality() -> None:
    """Its tensors have the shapes of an IoU-branch's."""
    missing, left = refusal("table-1a/IoU-branch/ATSS", dict(stock(STOCK[ATSS]).state_dict()))
    assert missing.startswith("2 missing: bbox_head.gfl_quality.weight")
    assert left.startswith("2 left over: bbox_head.atss_centerness.weight")


@pytest.mark.parametrize(("host", "row", "head"), [("atss", ATSS, "ATSS"), ("fcos", FCOS, "FCOS")])
def test_a_detector_of_ones_own_takes_the_weights_of_what_it_is_a_setting_of(
    host: HostName, row: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another top-k, declared by a record: the tensors are named as the published detector's."""
    state = dict(stock(STOCK[row]).state_dict())
    model, mine = fit(row, state).model, Experiment(host=host)
    object.__setattr__(mine, "host", "mine")
    monkeypatch.setattr(fitting, "HOSTS", {**HOSTS, "mine": HOSTS[host]})
    monkeypatch.setattr(fitting, "ABLATED_HOSTS", (*ABLATED_HOSTS, "mine"))

    def fitted(state: State) -> dict[str, Tensor]:
        checkpoint = Checkpoint(Path("file.pth"), "0" * 64, state, None, None)
        return fitting.fitted(checkpoint, model, mine)

    assert fitted(state).keys() == model.state_dict().keys()
    with pytest.raises(UserError, match=f"a RetinaNet head; the row has an {head} head"):
        fitted(dict(stock(STOCK[RETINANET]).state_dict()))


def test_bins_are_the_rows() -> None:
    """A constant in mmdet's file: as many bins spaced otherwise have tensors of the same shapes."""
    state = dict(stock(STOCK[GFL]).state_dict())
    state[fitting.BINS] = torch.linspace(0, 8, 17)
    assert refusal(GFL, state) == [
        "its distributions have 17 bins from 0 to 8 strides, the row's 17 from 0 to 16"
    ]


def test_other_images_are_told() -> None:
    state = stock(STOCK[ATSS]).state_dict()
    texts = {row: Config.fromfile(MIM / "configs" / STOCK[row]).pretty_text for row in STOCK}
    run = fit(ATSS, state)
    told = {
        row: fitting.preprocessing(Checkpoint(Path("f"), "", state, None, text), run.config)
        for row, text in texts.items()
    }
    assert told[ATSS] is told[GFL] is None
    assert told[FCOS] == (
        "its configuration normalises images by mean [103.53, 116.28, 123.675]; "
        "std [1.0, 1.0, 1.0]; rgb False, the row by mean [123.675, 116.28, 103.53]; "
        "std [58.395, 57.12, 57.375]; rgb True"
    )
    # And every row's own recipe is mmdet's.
    for row, text in texts.items():
        own = fit(row, stock(STOCK[row]).state_dict())
        checkpoint = Checkpoint(Path("f"), "", state, None, text)
        assert fitting.preprocessing(checkpoint, own.config) is None
