"""``gfl own FOLDER``: GFL on a data set of one's own."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from analysis import text
from cli.options import Count, Flag, MaybeCount, Worker, number, one, several, stoppable
from experiments import own as training
from experiments.own import Scale  # noqa: F401  of an inherited field, which cyclopts resolves
from experiments.queue.display import Display
from experiments.queue.worker import ROOT, TRAIN
from gfl import escape, terminal
from gfl.data import bboxes
from gfl.data.own.dataset import OwnData
from gfl.experiment import Experiment
from gfl.records.record import METRICS
from gfl.terminal import legible, say

WIDEST = 40  # columns of a class name
MOST_CLASSES = 30  # with printed metrics, one line each


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Data:
    """The data set's files, where they are not found by themselves, and how they are read.

    Args:
        train: the boxes to train on
        val: the boxes to evaluate on
        train_images: the images of --train, a folder
        val_images: the images of --val, a folder
        split: divide one annotation file: this part of its images, 0.2 say, is evaluated on
        boxes: box format of a COCO JSON: corner and size (xywh, COCO's own), two corners (xyxy) or
            centre and size (cxcywh); in pixels, or in fractions of the image
        skip_broken: leave out annotations, images and label files that cannot be read, and name
            them
        pixels_from: the number of the first pixel in Pascal VOC's corners: 0, as most tools write
            them (default), or 1, as VOC's own, which include the pixels of both corners
    """

    train: str | None = None
    val: str | None = None
    train_images: str | None = None
    val_images: str | None = None
    split: Annotated[
        float | None,
        Parameter(
            converter=number("a number above 0 and below 1, such as 0.2", lambda x: 0 < x < 1)
        ),
    ] = None
    boxes: Annotated[str | None, Parameter(choices=bboxes.LAYOUTS)] = None
    skip_broken: Flag = False
    pixels_from: Literal[0, 1] | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Settings(training.Settings):
    __doc__ = training.Settings.__doc__

    experiment: Annotated[
        str | Experiment,
        Parameter(
            accepts_keys=False,
            n_tokens=1,
            converter=lambda _, tokens: tokens[0].value,
            show_default=lambda _: "table-3/both, all of GFL",
        ),
    ] = training.Settings.experiment
    epochs: MaybeCount = training.Settings.epochs
    batch: MaybeCount = training.Settings.batch
    lr: Annotated[
        float | None,
        Parameter(converter=number("a number above 0", lambda value: 0 < value < math.inf)),
    ] = training.Settings.lr
    seed: Annotated[int, Parameter(converter=one(0))] = training.Settings.seed
    gpus: Count = training.Settings.gpus
    size: Annotated[
        Sequence[int] | int | None, Parameter(converter=several(1), consume_multiple=(1, None))
    ] = training.Settings.size
    pretrained: Annotated[
        bool | None, Parameter(negative="--from-scratch", allow_repeating=False)
    ] = training.Settings.pretrained


def own(
    folder: str,
    /,
    *,
    data: Data = Data(),
    out: Path | None = None,
    settings: Settings = Settings(),
    again: Flag = False,
    dry_run: Flag = False,
    worker: Worker = TRAIN,
) -> int:
    """Train GFL on a data set of your own, in COCO's, YOLO's or Pascal VOC's format.

    Args:
        folder: a data set in COCO's, YOLO's or Pascal VOC's layout; other file names are detected,
            or given by the options
        out: (default: runs/own/ and FOLDER's name)
        again: train anew what other code or versions than today's have trained; the old is kept
        dry_run: check the data and print what would be trained

    Raises:
        UserError: the data, a setting or the folder is not as it must be; nothing was written.
    """
    say("checking the data", error=True)
    display = Display(terminal.console(stderr=True))
    with display.table(1):
        decoding = partial(display.preparing, "decoding the images")
        found = training.read(folder, **asdict(data), progress=decoding)
    plan = training.plan(found, settings)
    folder_out = out or _short(training.default_folder(found))
    training.check_folder(plan, folder_out)
    for line in (*described(found), f"training: {plan}", f"into: {folder_out}"):
        say(line)
    for remark in found.remarks:
        say(f"note: {remark}", error=True)
    for warning in found.warnings:
        say(f"warning: {warning}", error=True)
    if dry_run:
        training.check_devices(plan)
        return 0
    sys.stdout.flush()
    code, result = stoppable(lambda: training.train(plan, folder_out, worker=worker, again=again))
    if result is None:
        return code
    each = {}
    if 1 < len(found.classes) <= MOST_CLASSES and result.detections.is_file():
        each = result.of_each_class()
    say("\n".join(metric_lines([("all classes", result.record.metrics), *each.items()])))
    say(f"in {folder_out}: final.pth, record.json, predictions.json; on pictures of your own:")
    say(f"  gfl detect --run {escape.shell(str(folder_out))} IMAGE_OR_FOLDER")
    return 0


def described(data: OwnData) -> list[str]:
    """Return lines that describe a data set."""
    names = escape.some(data.classes, 10, columns=WIDEST)
    classes = escape.counted(len(data.classes), "class", "classes")
    return [
        f"data: {data.root}",
        f"  train: {data.train}; val: {data.val}",
        f"  {classes}: {names}",
    ]


def metric_lines(metrics: Sequence[tuple[str, Mapping[str, float | None]]]) -> list[str]:
    """Return COCO's twelve metrics, in percent, under their names: a line per name."""
    names = [legible(escape.shortened(name, WIDEST)) for name, _ in metrics]
    width = max(map(escape.width, names))
    lines = [" " * width + "".join(f"{name:>7}" for name in METRICS)]
    for name, (_, values) in zip(names, metrics, strict=True):
        cells = [text.number(values[m]) for m in METRICS]
        lines.append(escape.padded(name, width) + "".join(f"{value:>7}" for value in cells))
    return lines


def _short(path: Path) -> Path:
    """Return a path as a person would type it."""
    short = Path(os.path.relpath(path))
    return path if ".." in short.parts and not path.is_relative_to(ROOT) else short
