"""Speed of every system of Table 4 beside the others, from the padded image to its detections.

In each round all systems see the same picture, in a fresh random order, with the anchor at the
start and in the middle: drift and other load of the machine fall on all alike. What counts is a
system's ratio to the anchor (``analysis.speed.systems``).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.speed.systems import PREFIX, Round, Speeds, Subject
from benchmarks import cases, measure
from benchmarks.detectors import draw_pictures
from benchmarks.loads import PAIRS, Loaded, digest_of, is_of_corners, load
from experiments import profiles
from experiments.tables.table4 import GFL_101, TABLE
from gfl import config
from gfl.errors import UserError, did_you_mean
from gfl.experiment import at_scale
from gfl.terminal import say

ANCHOR = GFL_101
SEED = 0
# Height and width in px, padded to a multiple of 32 where the detector does.
PAPERS = (800, 1333)
CORNERS = (511, 767)  # a picture of 480 x 640 on a corner detector's canvas
MIRRORED = ("MirroredCornerNet", "KeypointTriplets")
TSD = "TSDRoIHead"
UNMIRRORED, ALL_PAIRS = ", without its mirror image", ", all pairs"
FEW, MANY = 1, 8  # pictures at the paper's size, and of the embedded data
FEW_ROUNDS, MANY_ROUNDS = 5, 30

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured: all of it identifies a record, but for the number of rounds."""

    profile: str  # "coco" (full size) or "laptop"
    image: tuple[int, int]  # height and width, px
    corners: tuple[int, int]  # the same for corner detectors
    pictures: int
    rounds: int
    threads: int = 1
    device: str = "cpu"
    half: bool = False  # TF32 and float16: faster arithmetic than the paper's, on CUDA alone
    together: int | None = None  # systems kept in memory at a time; None: all
    candidates: int = 1000  # boxes that enter a dense detector's NMS


def plan(profile: str, rounds: int | None = None, **options: Any) -> Plan:
    """Return the plan of a profile at its own image size."""
    width, height = profiles.get(profile).scale
    if profile == profiles.COCO.name:
        return Plan(profile, PAPERS, CORNERS, FEW, rounds or FEW_ROUNDS, **options)
    image = (height, width)
    return Plan(profile, image, image, MANY, rounds or MANY_ROUNDS, **options)


def table4(profile: str, only: Sequence[str] = ()) -> dict[str, Config]:
    """Return the model settings of Table 4's rows, or of some and the anchor, by their keys.

    Corner detectors also appear without the mirror image, and TSD, whose source lets every score
    into NMS, with all pairs.

    Raises:
        UserError: there is no such row.
    """
    chosen = profiles.get(profile)
    keys = [row.key for row in TABLE.rows]
    if unknown := [name for name in only if name not in keys]:
        raise UserError(f"unknown row {unknown[0]!r}{did_you_mean(unknown[0], keys)}")
    found: dict[str, Config] = {}
    for row in TABLE.rows:
        if row.experiment is None or (only and row.key not in {*only, ANCHOR}):
            continue
        model = config.build(at_scale(row.experiment, chosen), chosen, SEED)["model"]
        found[row.key] = model
        if model["type"] in MIRRORED:
            found[row.key + UNMIRRORED] = model | {"mirrored": False}
        if model.get("roi_head", {}).get("type") == TSD:
            found[row.key + ALL_PAIRS] = model
    return found


def measure_all(
    configs: Mapping[str, Config],
    wanted: Plan,
    out: Path,
    anchor: str = ANCHOR,
    again: bool = False,
) -> Path:
    """Time systems, given the settings of their models by row, and write the record.

    Stopped at any time, it goes on from the last finished round. ``again`` begins anew.

    Raises:
        UserError: the anchor is missing, or the record there is of another measurement.
    """
    if anchor not in configs:
        raise UserError(f"{anchor!r}, the anchor, is not among the systems")
    setting = _setting(wanted)
    path = out / f"{PREFIX}{wanted.profile}-{setting['slug']}.json"
    record = None if again or not path.exists() else _resumed(path, setting, configs)
    record = record or Speeds(setting, anchor, {})
    for names in _groups(list(configs), anchor, wanted.together):
        if record.done(names) < wanted.rounds or not record.subjects.keys() >= {anchor, *names}:
            record = _measure(configs, names, wanted, record, path)
    for line in summary(record):
        say(line)
    say(f"written: {path}", error=True)
    return path


def _measure(
    configs: Mapping[str, Config], names: list[str], wanted: Plan, record: Speeds, path: Path
) -> Speeds:
    """Time the missing rounds of a group of systems, and save each."""
    _arithmetic(wanted)
    loaded: dict[str, Loaded] = {}
    subjects: dict[str, Subject] = dict(record.subjects)
    for name in [record.anchor, *names]:
        loaded[name], subject = _loaded(name, configs[name], wanted)
        known = subjects.setdefault(name, subject)
        if known.counts != subject.counts:
            say(f"{name}: its load is {subject.counts}, and was {known.counts}", error=True)
        if subject.refusal:
            say(f"{name}: refused, {subject.refusal}", error=True)
    record = Speeds(record.setting, record.anchor, subjects, record.rounds)
    record.save(path)
    now = measure.clock(wanted.device, wanted.threads)

    def take(name: str, picture: int) -> float:
        with torch.autocast("cuda", torch.float16, enabled=wanted.half):
            return measure.seconds(partial(loaded[name].detect, picture), now)

    first = record.done(names)
    one_round(names, record.anchor, first, wanted.pictures, take)  # warms up, is discarded
    for number in range(first, wanted.rounds):
        record = record.with_round(one_round(names, record.anchor, number, wanted.pictures, take))
        record.save(path)
        say(f"round {number + 1} of {wanted.rounds}: {len(names)} systems", error=True)
    return record


def one_round(
    names: list[str], anchor: str, number: int, pictures: int,
    take: Callable[[str, int], float],
) -> Round:  # fmt: skip
    """Time all systems once on one picture, in an order drawn by the round's number."""
    order = np.random.default_rng((SEED, number)).permutation(len(names)).tolist()
    picture, middle = number % pictures, len(names) // 2
    anchors, seconds = [take(anchor, picture)], dict[str, float]()
    for i, which in enumerate(order):
        if i == middle:
            anchors.append(take(anchor, picture))
        name = names[which]
        seconds[name] = take(name, picture)
    if len(anchors) < 2:
        anchors.append(take(anchor, picture))
    return Round(number, picture, (anchors[0], anchors[1]), seconds)


def summary(record: Speeds) -> Iterator[str]:
    """Yield a line a system, fastest first: images/s, ratio to the anchor, multiply-adds."""
    noise = record.noise()
    ratios = {name: record.ratio(name) for name in record.subjects}
    order = sorted(ratios, key=lambda name: -(r.value if (r := ratios[name]) else 0))
    for name in order:
        subject, ratio = record.subjects[name], ratios[name]
        if ratio is None:
            yield f"{name}: {subject.refusal or 'no round'}"
            continue
        load = ", ".join(f"{count:.0f} {what}" for what, count in subject.counts.items())
        yield (
            f"{name}: {ratio.images_per_second:.3g} images/s, "
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] of {record.anchor}, "
            f"{subject.multiply_adds / 1e9:.1f} G multiply-adds, "
            f"{subject.parameters / 1e6:.1f} M parameters; {load}"
        )
    if noise:
        yield f"{record.anchor} beside itself: [{noise.low:.3f}, {noise.high:.3f}]"


def _groups(names: Sequence[str], anchor: str, together: int | None) -> list[list[str]]:
    """Return the systems other than the anchor, as many at a time as are kept in memory."""
    others = [name for name in names if name != anchor]
    size = max(together or len(others), 1)
    return [others[i : i + size] for i in range(0, len(others), size)] or [[]]


def _loaded(name: str, config: Config, wanted: Plan) -> tuple[Loaded, Subject]:
    image = wanted.corners if is_of_corners(config) else wanted.image
    pairs = None if name.endswith(ALL_PAIRS) else PAIRS
    pictures = draw_pictures(profiles.get(wanted.profile), wanted.pictures, image)
    return load(config, pictures, wanted.device, wanted.candidates, pairs)


def _arithmetic(wanted: Plan) -> None:
    """Set the threads and, on CUDA, the paper's float32 without TF32 or a search for kernels."""
    cases.quiet()
    torch.set_num_threads(wanted.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = wanted.half


def _setting(wanted: Plan) -> dict[str, Any]:
    """Return what identifies a measurement: plan, machine, versions and commit."""
    if wanted.half and wanted.device != "cuda":
        raise UserError("TF32 and float16 are CUDA's: not with the CPU")
    machine = measure.machine(wanted.device, wanted.threads)
    what = {k: v for k, v in asdict(wanted).items() if k not in ("rounds", "together")}
    slug = machine.slug + ("-half" if wanted.half else "")
    return {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in what.items()},
        "slug": slug,
        "cpu": machine.cpu,
        "gpu": machine.gpu,
        "cores": machine.cores,
        "torch": machine.torch,
        "python": platform.python_version(),
        "commit": machine.commit,
    }


def _resumed(path: Path, setting: Mapping[str, Any], configs: Mapping[str, Config]) -> Speeds:
    """Return the record to go on with.

    Raises:
        UserError: it was measured at another setting, or a system has changed since.
    """
    record = Speeds.load(path)
    other = {k for k in setting.keys() | record.setting.keys()
             if setting.get(k) != record.setting.get(k)}  # fmt: skip
    other |= {
        name
        for name, subject in record.subjects.items()
        if name in configs and subject.config != digest_of(configs[name])
    }
    if other:
        raise UserError(
            f"{path}: measured with another {', '.join(sorted(other))}; --again begins anew"
        )
    return record
