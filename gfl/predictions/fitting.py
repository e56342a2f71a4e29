"""Adaptation of third-party weights to a row's model: mmdet's names mapped, every tensor checked.

Supported are the hosts of Tables 1 to 4 (GFL and ATSS, FCOS, RetinaNet, FoveaBox, SSD512), with
mmdet 3.x's names and 2.x's; the authors' code uses 2.x's for GFL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gfl import escape
from gfl.boxes import General
from gfl.data.weights import Checkpoint, normalisation
from gfl.errors import UserError
from gfl.escape import counted
from gfl.experiment import AnyExperiment, Experiment
from gfl.hosts import ABLATED_HOSTS, HOSTS, Dense, HostName

WIDEST = 120  # columns of a name in a message
BINS = "bbox_head.integral.project"  # GFL's distances, a constant in mmdet

# By detector, patterns of foreign names and their replacements here. Only its own names count:
# ATSS's and FCOS's tensors have the same shapes and different meanings.
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "atss": (
        (r"bbox_head\.atss_(cls|reg)\.", r"bbox_head.gfl_\1."),
        (r"bbox_head\.atss_centerness\.", "bbox_head.gfl_quality."),
    ),
    # 2.x before anchor-free heads shared a base class: fcos_*, fovea_*.
    "fcos": (
        (r"bbox_head\.(?:conv|fcos)_(cls|reg)\.", r"bbox_head.gfl_\1."),
        (r"bbox_head\.(?:conv|fcos)_centerness\.", "bbox_head.gfl_quality."),
    ),
    "retinanet": (),
    "foveabox": ((r"bbox_head\.fovea_(cls|reg)\.", r"bbox_head.conv_\1."),),
    # 2.x before SSD had a neck: its layers and the norm belonged to the backbone.
    "ssd512": (
        (r"backbone\.extra\.(\d+)\.", ""),  # two convolutions per level: see _ssd_extra
        (r"backbone\.l2_norm\.", "neck.l2_norm."),
        (r"bbox_head\.(cls|reg)_convs\.(\d+)\.(weight|bias)$", r"bbox_head.\1_convs.\2.0.\3"),
    ),
}

# Tensors that only one detector has, and the detector's name in messages.
SIGNS = (
    (r"roi_head\.|rpn_head\.", "a two-stage detector"),
    (r"bbox_head\.gfl_cls\.", "a GFL head"),
    (r"bbox_head\.atss_cls\.", "an ATSS head"),
    (r"bbox_head\.(?:conv_centerness|fcos_cls)\.", "an FCOS head"),
    (r"bbox_head\.retina_cls\.", "a RetinaNet head"),
    (r"bbox_head\.(?:conv_cls|fovea_cls)\.", "a FoveaBox head"),
    (r"(?:backbone|neck)\.l2_norm\.", "an SSD detector"),
)


def fitted(
    checkpoint: Checkpoint, model: nn.Module, experiment: AnyExperiment
) -> dict[str, Tensor]:
    """Return a checkpoint's weights under the names of a row's model, all of them and no others.

    Raises:
        UserError: some are missing, left over or of another shape; says which and, where clear,
            whose weights the file holds.
    """
    wanted = model.state_dict()
    state = renamed(checkpoint.state, experiment)
    if twice := _named_alike(checkpoint.state, experiment):
        named = escape.some(twice, columns=WIDEST)
        raise UserError(f"{checkpoint.path}: two tensors for one of this row's: {named}")
    problems = []
    if BINS in state and _has_bins(model):
        problems += _bin_problems(state.pop(BINS), model)
    # BatchNorm's batch counter, missing in files from before PyTorch 0.4.1, has no effect here.
    missing = [n for n in wanted if n not in state and not n.endswith(".num_batches_tracked")]
    left = [name for name in state if name not in wanted]
    other = [n for n, t in wanted.items() if n in state and state[n].shape != t.shape]
    shapes = [f"{n} {_shape(state[n])}, expected {_shape(wanted[n])}" for n in other]
    for what, names in (("missing", missing), ("left over", left), ("of another shape", shapes)):
        if names:
            problems.append(f"{len(names)} {what}: {escape.some(names, columns=WIDEST)}")
    if problems and isinstance(experiment, Experiment):
        problems += [f"hint: {hint}" for hint in _hints(checkpoint.state, state, model, experiment)]
    if problems:
        raise UserError("\n  ".join([f"{checkpoint.path} does not fit this row:", *problems]))
    return {**wanted, **state}


def renamed(state: Mapping[str, Tensor], experiment: AnyExperiment) -> dict[str, Tensor]:
    """Return weights under the names in a row's model."""
    patterns = _patterns(experiment)
    return {_renamed(name, patterns): value for name, value in state.items()}


def _named_alike(state: Mapping[str, Tensor], experiment: AnyExperiment) -> list[str]:
    """Return pairs of a file's names that map to the same name here, which is ambiguous."""
    patterns, first = _patterns(experiment), {}
    pairs = [(first.setdefault(_renamed(name, patterns), name), name) for name in state]
    return [f"{one} and {other}" for one, other in pairs if one != other]


def _patterns(experiment: AnyExperiment) -> tuple[tuple[str, str], ...]:
    if not isinstance(experiment, Experiment):
        return ()  # mmdet's own modules, or those of ``gfl.systems``, whose files are not known
    patterns = NAMES.get(_detector(experiment.host), ())
    if experiment.host in ABLATED_HOSTS and experiment.quality != "centerness-branch":
        return patterns[:1]  # centerness is a different quality
    return patterns


def _detector(host: HostName) -> str:
    """The published detector whose tensors mmdet names: a record of another setting is no other."""
    record = HOSTS[host]
    return record.assigner if isinstance(record, Dense) else host


def _renamed(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, ours in patterns:
        if found := re.match(pattern, name):
            return (found.expand(ours) if ours else _ssd_extra(found)) + name[found.end() :]
    return name


def _ssd_extra(found: re.Match[str]) -> str:
    level, which = divmod(int(found[1]), 2)
    return f"neck.extra_layers.{level}.{which}.conv."


def preprocessing(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> str | None:
    """Report if the file's configuration normalises images differently from the row; else None."""
    theirs = None if checkpoint.config is None else normalisation(checkpoint.config)
    ours = settings["model"]["data_preprocessor"]
    here = {"mean": ours["mean"], "std": ours["std"], "rgb": ours["bgr_to_rgb"]}
    if theirs is None or all(_same(theirs[key], here[key]) for key in here):
        return None
    texts = (
        "; ".join(f"{key} {escape.shortened(str(v[key]), WIDEST)}" for key in here)
        for v in (theirs, here)
    )
    return "its configuration normalises images by {}, the row by {}".format(*texts)


def _same(theirs: object, ours: object) -> bool:
    """Return True for equal numbers of any type: 1, 1.0 and True."""
    return theirs == (list(ours) if isinstance(ours, (list, tuple)) else ours)


def _has_bins(model: nn.Module) -> bool:
    head = getattr(model, "bbox_head", None)  # two-stage detectors have none
    return isinstance(getattr(head, "representation", None), General)


def _bin_problems(project: Tensor, model: Any) -> list[str]:
    """Compare the file's bins with GFL's, which are constant here and must be equal."""
    bins = model.bbox_head.representation.bins
    if project.shape == bins.shape and torch.equal(project.to(bins), bins):
        return []
    last, ours = (f"{float(b.max()) if b.numel() else 0:g}" for b in (project, bins))
    return [
        f"its distributions have {project.numel()} bins from 0 to {last} strides, "
        f"the row's {bins.numel()} from 0 to {ours}"
    ]


def _hints(
    given: Mapping[str, Tensor], state: Mapping[str, Tensor], model: nn.Module, row: Experiment
) -> list[str]:
    """Identify the source of the file from telltale tensors."""
    hints = []
    signs = [what for sign, what in SIGNS if any(re.match(sign, name) for name in given)]
    wanted = [what for sign, what in SIGNS if any(re.match(sign, n) for n in _stock(model, row))]
    if signs and signs[0] not in wanted:
        row_has = f"; the row has {wanted[0]}" if wanted else ""
        hints.append(f"this looks like {signs[0]}{row_has}")
    elif not signs and not any(name.startswith("bbox_head.") for name in given):
        hints.append("this looks like a backbone alone: there is no bbox_head")
    ours = model.state_dict()
    for describe in (_classes, _levels, _sides, _network, _deformable):
        there, here = describe(state, ours, row), describe(ours, ours, row)
        if there and here and there != here:
            hints.append(f"the file has {there}, the row {here}")
    return hints


def _stock(model: nn.Module, row: Experiment) -> list[str]:
    """Return mmdet's names for the tensors of a row's model, to compare telltale ones."""
    if row.host not in ABLATED_HOSTS or row.boxes == "general" or row.quality == "joint":
        return list(model.state_dict())
    stock = f"bbox_head.{_detector(row.host)}_"
    return [name.replace("bbox_head.gfl_", stock) for name in model.state_dict()]


def _classes(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], row: Experiment) -> str:
    """Report the number of classes, if the layer's other sizes match the row's.

    An anchor has as many channels as classes, with a softmax one more.
    """
    layers = ("gfl_cls", "retina_cls", "conv_cls", "cls_convs.0.0")
    for name in (f"bbox_head.{layer}.weight" for layer in layers):
        if name in ours and name in state and ours[name].shape[1:] == state[name].shape[1:]:
            background = row.host == "ssd512" and row.quality != "joint"
            count, rest = divmod(len(state[name]), HOSTS[row.host].anchors)
            count -= background
            return "" if rest or count <= 0 else counted(count, "class", "classes")
    return ""


def _levels(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], row: Experiment) -> str:
    """Report the number of an SSD's levels: one less at 300 px than at 512."""
    if row.host != "ssd512":
        return ""
    found = {m[1] for n in state if (m := re.match(r"bbox_head\.cls_convs\.(\d+)\.", n))}
    return counted(len(found), "level") if found else ""


def _sides(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], row: Experiment) -> str:
    """Report the numbers predicted per side: one, or a distribution's bins."""
    channels = state.get("bbox_head.gfl_reg.weight")
    if channels is None or channels.ndim != 4:
        return ""
    return f"{counted(len(channels) // 4, 'channel')} per side of a box"


def _network(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], row: Experiment) -> str:
    """Report the ResNet's depth and width, by its third stage and its first bottleneck."""
    blocks = {m[1] for n in state if (m := re.match(r"backbone\.layer3\.(\d+)\.", n))}
    if not blocks:
        return ""
    depth = {6: "-50", 23: "-101", 36: "-152"}.get(
        len(blocks), f" with {counted(len(blocks), 'block')} in its third stage"
    )
    kernel = state.get("backbone.layer1.0.conv2.weight")
    narrow = kernel is not None and kernel.ndim == 4 and kernel.shape[1] < kernel.shape[0]
    return f"a {'ResNeXt' if narrow else 'ResNet'}{depth}" if kernel is not None else ""


def _deformable(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], row: Experiment) -> str:
    """Report the version of deformable convolution: 1 has 18 offset channels, 2 has 27."""
    pattern = re.compile(r"backbone\.layer([1-4])\.[0-9]+\.conv2\.conv_offset\.weight")
    offsets = [(m[1], t) for n, t in state.items() if t.ndim == 4 and (m := pattern.fullmatch(n))]
    if not offsets:
        return "no deformable convolution"
    version = {18: "version 1", 27: "version 2"}.get(len(offsets[0][1]), "another")
    where = ", ".join(f"c{int(stage) + 1}" for stage in sorted({stage for stage, _ in offsets}))
    return f"deformable convolution {version} in {where}"


def _shape(tensor: Tensor) -> str:
    return "[" + ", ".join(map(str, tensor.shape)) + "]"
