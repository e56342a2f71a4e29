"""``gfl evaluate``: evaluation of third-party weights as a row's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from analysis.text import number
from cli.options import Device, Folders
from experiments import matrix, profiles
from experiments.checkout import code_state
from experiments.matrix import Run
from experiments.profiles import PAPER_SCALE
from experiments.queue.machine import usable_cores
from experiments.tables import catalogue
from experiments.tables.declare import FPS, Cell, Table
from gfl import escape, hardware
from gfl.data import annotations, coco
from gfl.errors import UserError
from gfl.predictions import evaluation
from gfl.predictions.evaluation import Evaluation
from gfl.records import digests
from gfl.records.record import METRICS, Request
from gfl.terminal import note, say
from gfl.training.worker import LOADERS, coco_root

if TYPE_CHECKING:
    from gfl.data.weights import Checkpoint
    from gfl.predictions.trained import Trained

VAL_IMAGES = 5000  # of COCO's val2017
WORDS = 20  # of progress
ROW = "the table row whose model, at the coco profile, the weights belong to: 'table-4/GFL R-50'"


Weights = Annotated[Path | None, Parameter(help="a third-party checkpoint, of mmdet 2.x or 3.x")]
Row = Annotated[str | None, Parameter(name="--as", help=ROW)]


def evaluate(
    *,
    weights: Weights = None,
    row: Row = None,
    data: str | None = None,
    device: Device = "auto",
    folders: Folders = Folders(),
) -> int:
    """Evaluate a third-party checkpoint as a row's model, beside the paper's numbers.

    Args:
        data: COCO's folder, with annotations and val2017/

    Raises:
        UserError: the file holds no weights of the row's model, or the data are not there or not
            COCO's.
    """
    run, path = weights_of(weights, row)
    if not data:
        raise UserError("no data named: DATA=/path/to/coco, or --data")
    root = coco_root(data).expanduser()
    for remark in coco.check(root, [evaluation.SPLIT]):
        note(remark)
    folder = folders.store().runs / evaluation.FOLDER
    matrix.check_writable(folder)
    from gfl.data.weights import read  # takes seconds, after checks of the arguments

    checkpoint = read(path)
    tensors = escape.counted(len(checkpoint.state), "tensor")
    note(f"{path.name}: {tensors}, SHA-256 {checkpoint.sha256}")
    content = annotations.read(coco.annotation_file(root, evaluation.SPLIT))
    _check_images(root / evaluation.SPLIT, content)
    images = content["images"]
    boxes, digest = evaluation.data_digest(root, images)
    name = evaluation.name_of(run.experiment, checkpoint.sha256, digest)
    trained = loaded(checkpoint, run, name, folder / name, device, root)
    _check_categories(trained, checkpoint, content)
    trained.run_dir.mkdir(parents=True, exist_ok=True)
    commit, dirty = code_state()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    workers = min(LOADERS, usable_cores()) if trained.device.type == "cuda" else 0
    metrics, predictions, seconds = evaluation.evaluate(trained, root, workers, _progress)
    made = Evaluation(
        name=name, row=run.rows[0], run=run.id, experiment=asdict(run.experiment),
        file=path.name, weights=checkpoint.sha256,
        data_root=str(root.resolve()), annotations=boxes, data=digest, images=len(images),
        metrics=metrics, predictions=predictions, commit=commit, dirty=dirty,
        versions=digests.versions(), hardware=hardware.described(trained.device),
        seconds=seconds, started=started,
    )  # fmt: skip
    made.save(trained.run_dir)
    say("\n".join(lines(made)))
    say(f"stored: {trained.run_dir}/; its errors by kind, and how sure the metrics are:")
    say(f"  gfl errors --weights {name}")
    return 0


def weights_of(weights: Path | None, row: str | None) -> tuple[Run, Path]:
    """Return the coco profile's row given by --as, and the file given by --weights.

    Raises:
        UserError: one of them is missing, or no such row is declared.
    """
    if weights is None:
        raise UserError("no weights named: --weights FILE.pth")
    if not row:
        raise UserError(f"--weights needs --as ROW: {ROW}")
    run = matrix.single(row, profiles.get(PAPER_SCALE), [0])
    path = weights.expanduser()
    if not path.exists():
        raise UserError(f"no such file: {escape.terminal(str(path))}{matrix.near(path)}")
    return run, path


def loaded(
    checkpoint: Checkpoint,
    row: Run,
    name: str,
    folder: Path,
    device: Device,
    root: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    head: str | None = None,
) -> Trained:
    """Return a row's detector with third-party weights; report if they expect other images.

    Raises:
        UserError: they do not fit that detector.
    """
    import torch

    from gfl.predictions import fitting, trained

    found = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    request = Request(
        name, row.experiment, row.profile, row.seed, root and str(root), found, 1,
        max_iters=None, commit=None, dirty=False,
    )  # fmt: skip
    made = trained.of_others(checkpoint, request, folder, found, classes=classes, head=head)
    if warning := fitting.preprocessing(checkpoint, made.config):
        note(f"{checkpoint.path.name}: {warning}; taken as the row has it")
    return made


def _check_images(folder: Path, content: Mapping[str, Any]) -> None:
    from gfl.data.images import ImageError
    from gfl.data.own.image_check import (
        examine,  # imports numpy and Pillow, after checks of the arguments
    )

    found = examine(folder, [folder / image["file_name"] for image in content["images"]])
    broken = [str(one) for one in found.values() if isinstance(one, ImageError)]
    if len(broken) > 1:
        raise UserError(f"{len(broken)} images cannot be read: {escape.some(broken)}")
    if broken:
        raise UserError(broken[0])


def _check_categories(trained: Trained, checkpoint: Checkpoint, content: Mapping[str, Any]) -> None:
    """Reject data of other classes than the row's; note another order, here or in the weights."""
    classes = trained.classes
    there = tuple(category["name"] for category in content["categories"])
    if sorted(there) != sorted(classes):
        raise UserError(
            f"{evaluation.SPLIT}: its {escape.counted(len(there), 'category', 'categories')} are "
            f"not COCO's {len(classes)}, which the paper's rows detect"
        )
    if there != classes:
        note(f"{evaluation.SPLIT}: categories matched with COCO's by name")
    theirs = checkpoint.classes
    if theirs is not None and [*map(_plain, theirs)] != [*map(_plain, classes)]:
        note(f"{checkpoint.path.name}: its class names or their order differ from COCO's")


def _plain(name: str) -> str:
    """Normalise a class name: mmdet 1.x wrote traffic_light."""
    return name.replace("_", " ").casefold()


def lines(made: Evaluation) -> list[str]:
    """Return the printed lines of an evaluation beside the paper's row."""
    table, cell = _cell(made.row)
    columns = [column for column in table.columns if column.name != FPS.name]
    paper = [cell.published[column.name] for column in columns]
    found = [made.metrics[column.metric] for column in columns]
    both = zip(found, paper, strict=True)
    differences = [None if a is None or b is None else a - b for a, b in both]
    rows = [
        ("", *(column.name for column in columns)),
        ("paper", *map(number, paper)),
        ("these weights", *map(number, found)),
        ("difference", *(number(d, "+z.1f") for d in differences)),
    ]
    head = f"third-party weights: {made.file} ({made.weights[:12]}...), as {made.row}"
    notes = []
    if table.profiles:  # Table 4
        notes = [f"the paper's metrics are of test-dev, these of {evaluation.SPLIT}"]
    if made.images != VAL_IMAGES:
        notes.append(
            f"{escape.counted(made.images, 'image')}, not COCO's "
            f"{VAL_IMAGES} of {evaluation.SPLIT}: the difference says nothing about the paper"
        )
    every = "  ".join(f"{name} {number(made.metrics[name])}" for name in METRICS)
    return [head, *_aligned(rows), every, *notes]


def _cell(where: str) -> tuple[Table, Cell]:
    name, _, key = where.partition("/")
    table = catalogue.find(name)
    return table, next(cell for cell in table.all_cells() if cell.key == key)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _progress(done: int, total: int) -> None:
    if done == total or done % max(1, total // WORDS) == 0:
        note(f"{done} of {total} images")
