"""``python -m experiments train-own DATA``: GFL on a data set of one's own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from cli.options import add_again, number_above, stoppable, whole_number
from experiments import own
from experiments.queue.display import Display
from experiments.queue.worker import ROOT
from gfl import escape, terminal
from gfl.data import bboxes
from gfl.data.own.dataset import OwnData
from gfl.errors import UserError
from gfl.records.record import METRICS
from gfl.terminal import legible, say

ABOUT = "train GFL on a data set of your own, in COCO's, YOLO's or Pascal VOC's format"
PROG = "experiments"
WIDEST = 40  # columns of a class's name
MOST_CLASSES = 30  # whose figures are printed, each in a line


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help="the folder: annotations/instances_train2017.json, instances_val2017.json, train2017/,"
        " val2017/, or other names that are found or given; also in YOLO's or Pascal VOC's layout",
    )
    parser.add_argument("--train", metavar="FILE", help="the boxes to train on")
    parser.add_argument("--val", metavar="FILE", help="the boxes to evaluate on")
    parser.add_argument("--train-images", metavar="DIR", help="the images of --train")
    parser.add_argument("--val-images", metavar="DIR", help="the images of --val")
    parser.add_argument(
        "--split",
        metavar="PART",
        type=_part,
        help="divide one annotation file: this part of its images, 0.2 say, is evaluated on",
    )
    parser.add_argument(
        "--boxes",
        choices=bboxes.LAYOUTS,
        help="what four numbers of a box are, of COCO's JSON: the upper left corner and the size "
        "(xywh, COCO's), two corners, or the centre and the size; in pixels or fractions",
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out annotations, images and files of labels that cannot be read, and name them",
    )
    parser.add_argument(
        "--pixels-from",
        choices=[0, 1],
        type=int,
        help="the number of the first pixel in Pascal VOC's corners: 0, as most tools write them "
        "(default), or 1, as VOC's own, which include the pixels of both corners",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="default: runs/own/ and DATA's name"
    )
    parser.add_argument(
        "--experiment", default=own.GFL, metavar="ROW", help="default: table-3/both, all of GFL"
    )
    parser.add_argument(
        "--scale",
        choices=list(own.IMAGES_SEEN),
        help="laptop: a small network from scratch, for CPUs; coco: ResNet-50 at 800 x 1333 px "
        "(default: coco with a CUDA device, else laptop)",
    )
    _add_settings(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check the data and say what would be trained"
    )


def _part(text: str) -> float:
    """An argparse type: a part of a whole."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1:
        raise UserError(f"--split {text!r}: expected a number above 0 and below 1, such as 0.2")
    return value


def _add_settings(parser: argparse.ArgumentParser) -> None:
    least, most = own.EPOCHS["laptop"]
    seen = own.IMAGES_SEEN["laptop"]
    for name, help in (
        ("--epochs", f"default: as many as show it {seen} images, {least} to {most} (laptop)"),
        (
            "--batch",
            f"images a step; default: {own.LAPTOP_BATCH} (laptop), {own.IMAGES_PER_GPU} a GPU",
        ),
    ):
        parser.add_argument(name, type=whole_number(name, 1), metavar="N", help=help)
    parser.add_argument(
        "--lr",
        type=number_above("--lr"),
        help=f"default: {own.LAPTOP_LR} (laptop), 0.01 for 16 images a step (coco)",
    )
    parser.add_argument(
        "--size",
        nargs="+",
        type=whole_number("--size", 1),
        metavar="PX",
        help="the long and the short side that images are scaled to, or one number for both; "
        f"default: {own.LAPTOP_SIZE} (laptop), 1333 800 (coco)",
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--pretrained",
        action="store_true",
        default=None,
        help="start from ImageNet's weights (coco's default)",
    )
    weights.add_argument(
        "--from-scratch", dest="pretrained", action="store_false", help="start from random weights"
    )
    parser.add_argument(
        "--seed",
        type=whole_number("--seed", 0),
        default=0,
        help=f"0 (default) to {own.LARGEST_SEED}",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--gpus", type=whole_number("--gpus", 1), default=1)
    add_again(parser)


def run(args: argparse.Namespace, worker: Sequence[str]) -> int:
    """Train, or go on with it, and print what came out.

    Raises:
        UserError: the data, a setting or the folder is not as it must be; nothing was written.
    """
    say("checking the data", error=True)
    display = Display(terminal.console(stderr=True))
    with display.table(1):
        data = own.read(
            args.data,
            train=args.train,
            val=args.val,
            train_images=args.train_images,
            val_images=args.val_images,
            split=args.split,
            boxes=args.boxes,
            pixels_from=args.pixels_from,
            skip_broken=args.skip_broken,
            progress=partial(display.preparing, "decoding the images"),
        )
    settings = ("experiment", "scale", "epochs", "batch", "lr", "size", "pretrained", "seed")
    plan = own.plan(
        data, gpus=args.gpus, device=args.device, **{name: getattr(args, name) for name in settings}
    )
    folder = args.out or _short(own.default_folder(data))
    own.check_folder(plan, folder)
    for line in (*described(data), f"training: {plan}", f"into: {folder}"):
        say(line)
    for remark in data.remarks:
        say(f"note: {remark}", error=True)
    for warning in data.warnings:
        say(f"warning: {warning}", error=True)
    if args.dry_run:
        own.check_devices(plan)
        return 0
    sys.stdout.flush()
    code, result = stoppable(PROG, lambda: own.train(plan, folder, worker=worker, again=args.again))
    if result is None:
        return code
    each = {}
    if 1 < len(data.classes) <= MOST_CLASSES and result.detections.is_file():
        each = result.of_each_class()
    say("\n".join(figures([("all classes", result.record.metrics), *each.items()])))
    say(f"in {folder}: final.pth, record.json, predictions.json; on pictures of your own:")
    say(f"  python -m experiments detect --run {escape.shell(str(folder))} IMAGE_OR_FOLDER")
    return 0


def described(data: OwnData) -> list[str]:
    """Say what a data set holds."""
    names = escape.some(data.classes, 10, columns=WIDEST)
    classes = escape.counted(len(data.classes), "class", "classes")
    return [
        f"data: {data.root}",
        f"  train: {data.train}; val: {data.val}",
        f"  {classes}: {names}",
    ]


def figures(metrics: Sequence[tuple[str, Mapping[str, float | None]]]) -> list[str]:
    """COCO's twelve figures, in percent, under their names: a line for each name."""
    names = [legible(escape.shortened(name, WIDEST)) for name, _ in metrics]
    width = max(map(escape.width, names))
    lines = [" " * width + "".join(f"{name:>7}" for name in METRICS)]
    for name, (_, values) in zip(names, metrics, strict=True):
        shown = ["—" if values[m] is None else f"{values[m]:.1f}" for m in METRICS]
        lines.append(escape.padded(name, width) + "".join(f"{figure:>7}" for figure in shown))
    return lines


def _short(path: Path) -> Path:
    """A path as a person would type it."""
    short = Path(os.path.relpath(path))
    return path if ".." in short.parts and not path.is_relative_to(ROOT) else short
