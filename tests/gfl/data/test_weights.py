"""Checkpoints as others save them, and files that only look like some."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gfl.register  # noqa: F401  before mmdet

# isort: split
import mmdet
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from gfl.data import weights
from gfl.data.weights import normalisation, read
from gfl.errors import UserError

CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
STATE = OrderedDict({"backbone.a": torch.arange(3.0), "bbox_head.b": torch.ones(2, 2)})


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def is_state(found: weights.Checkpoint) -> bool:
    return found.state.keys() == STATE.keys() and all(
        torch.equal(found.state[name], STATE[name]) for name in STATE
    )


@pytest.fixture
def log() -> dict[str, Any]:
    """A training's log as mmengine's hook saves it: HistoryBuffers, numpy's arrays and scalars."""
    hub = MessageHub("a training")
    for value in (1.5, 1.0):
        hub.update_scalar("train/loss", value)
    hub.update_info("best_score", np.float64(0.4))
    return hub.state_dict()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_mmengine_saves_is_read(tmp_path: Path, log: dict[str, Any], zipped: bool) -> None:
    meta = {
        "epoch": 12,
        "cfg": "a = 1",
        "dataset_meta": {"classes": ("cup", "bowl"), "palette": [(1, 2, 3)]},
    }
    content = {"meta": meta, "state_dict": STATE, "message_hub": log, "optimizer": {"state": {}}}
    path = saved(tmp_path / "epoch_12.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):  # what it needs more than torch allows
        torch.load(path, weights_only=True)
    found = read(path)
    assert is_state(found)
    assert found.classes == ("cup", "bowl")
    assert found.config == "a = 1"


def test_what_mmcv_saved_is_read(tmp_path: Path) -> None:
    """mmdet 2.x, published: CLASSES and the configuration's text in meta."""
    meta = {"mmdet_version": "2.11.0", "CLASSES": ("cup",), "config": "b = 2", "epoch": 12}
    path = saved(
        tmp_path / "gfl.pth",
        {"meta": meta, "state_dict": STATE},
        _use_new_zipfile_serialization=False,
    )
    found = read(path)
    assert is_state(found)
    assert (found.classes, found.config) == (("cup",), "b = 2")


def prefixed(prefix: str) -> dict[str, Any]:
    return {prefix + name: value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE},
        {"state_dict": prefixed("module.")},
        # mmengine's average: state_dict has been swapped with it.
        {
            "state_dict": STATE,
            "ema_state_dict": {"steps": torch.tensor(3), **prefixed("module.x.")},
        },
        {"ema_state_dict": {"steps": torch.tensor(3), **prefixed("module.")}},
        # mmdet 2.x's average, in the model itself.
        {"state_dict": {**STATE, "ema_backbone_a": torch.zeros(3)}},
        {"state_dict": {**STATE, "data_preprocessor.mean": torch.zeros(3)}},
        {"state_dict": {**STATE, "note": "no tensor"}},
    ],
)
def test_the_weights_are_found_however_they_are_wrapped(tmp_path: Path, content: Any) -> None:
    assert is_state(read(saved(tmp_path / "w.pth", content)))


class Calls:
    """What pickles as the call of a function."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        (os.system, "touch {}", "system"),
        (eval, "open({!r}, 'w')", "eval"),
        (exec, "open({!r}, 'w')", "exec"),
        (os.mkdir, "{}", "mkdir"),
        (Path, "{}", "pathlib.Path"),
    ],
)
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(
    tmp_path: Path, function: Callable, argument: str, named: str, zipped: bool
) -> None:
    proof = tmp_path / "proof"
    call = Calls(function, argument.format(str(proof)))
    content = {"state_dict": STATE, "meta": {"x": call}}
    path = saved(tmp_path / "w.pth", content, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert named in message
    assert "nothing of it was run" in message
    assert not proof.exists()


def test_what_stands_for_a_log_does_nothing(tmp_path: Path) -> None:
    """getattr is in every log of mmengine's; here it reaches for what is no statistic."""
    proof = tmp_path / "proof"
    call = Calls(getattr, np.ndarray, "tofile")
    path = saved(
        tmp_path / "w.pth", {"state_dict": STATE, "log": [call, Calls(getattr, call, str(proof))]}
    )
    assert is_state(read(path))
    assert not proof.exists()


def test_reading_leaves_torch_as_strict_as_it_was(tmp_path: Path, log: dict[str, Any]) -> None:
    before = set(torch.serialization.get_safe_globals())
    read(saved(tmp_path / "w.pth", {"state_dict": STATE, "message_hub": log}))
    assert set(torch.serialization.get_safe_globals()) == before


def test_what_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pth") == "no such file"
    assert refusal(tmp_path) == "a folder, not a file of weights"
    whole = saved(tmp_path / "w.pth", {"state_dict": STATE}).read_bytes()
    code = "a pickle, which could run code; nothing of it was run"
    for content, why in (
        (b"", "empty, 0 bytes"),
        (b"hello", "it does not begin as one"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it does not begin as one"),
        (whole[: len(whole) // 2], "a ZIP archive that is cut short, or of something else"),
        (whole[:-30], "a ZIP archive that is cut short, or of something else"),
        (pickle.dumps({"a": 1}), code),
        (pickle.dumps({"a": 1}, protocol=2), code),
    ):
        (tmp_path / "x.pth").write_bytes(content)
        assert refusal(tmp_path / "x.pth") == f"not a PyTorch checkpoint, or damaged ({why})"
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "script.pt"))
    assert "not a PyTorch checkpoint" in refusal(tmp_path / "script.pt")
    for content in ({}, {"state_dict": {}}, {"epoch": 3}, [torch.ones(2)], torch.ones(2)):
        assert refusal(saved(tmp_path / "w.pth", content)) == "holds no weights"


def test_names_of_classes_are_one_line_each(tmp_path: Path) -> None:
    names = ("cup\n\x1b[31m", "Schlüssel", "x" * 500)
    content = {"state_dict": STATE, "meta": {"dataset_meta": {"classes": names}}}
    found = read(saved(tmp_path / "w.pth", content)).classes
    assert found is not None
    assert found[:2] == (r"cup\n\x1b[31m", "Schlüssel")
    assert all(name.isprintable() and len(name) <= 60 for name in found)
    content["meta"]["dataset_meta"] = {"classes": ("cup", 3)}  # type: ignore[dict-item]
    assert read(saved(tmp_path / "w.pth", content)).classes is None


@pytest.mark.parametrize(
    ("config", "mean", "rgb"),
    [
        ("gfl/gfl_r50_fpn_1x_coco.py", [123.675, 116.28, 103.53], True),
        (
            "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
            [103.53, 116.28, 123.675],
            False,
        ),
    ],
)
def test_how_a_configuration_normalises_is_read_from_its_text(
    config: str, mean: list[float], rgb: bool
) -> None:
    found = normalisation(Config.fromfile(CONFIGS / config).pretty_text)
    assert found is not None
    assert (found["mean"], found["rgb"]) == (mean, rgb)


def test_how_a_configuration_of_2x_normalises_is_read_from_its_text() -> None:
    text = (
        "dataset_type = 'CocoDataset'\nimg_norm_cfg = dict(\n"
        "    mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
        "train_pipeline = [dict(type='Normalize', **img_norm_cfg)]\n"
    )
    expected = {"mean": [102.9801, 115.9465, 122.7717], "std": [1, 1, 1], "rgb": False}
    assert normalisation(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not Python at all",
        "model = dict(data_preprocessor=dict(mean=open('{}', 'w'), std=[1], bgr_to_rgb=True))\n",
        "img_norm_cfg = __import__('os').mkdir('{}')",
        "(" * 100_000,
        "x" + "+x" * 100_000,
        "\0",
    ],
)
def test_a_text_is_never_run(text: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    found = normalisation(text.replace("{}", str(proof)))
    assert found is None or found["mean"] is None
    assert not proof.exists()
