"""``gfl detect image.jpg [folder …] --run RUN``: detect in the user's own pictures.

Each picture is written beside the original, or into a folder, with its detections; --json prints
them for programs, one object per line, and draws nothing unless a folder is given. Files that are
not valid pictures are reported, and the others processed. ``--weights FILE --as ROW`` detects with
third-party weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cli.evaluate import Row, Weights, loaded, weights_of
from cli.options import SEEDS, Count, Device, Flag, Seeds, Where, number
from experiments import diff, matrix, own
from gfl import escape
from gfl.errors import UserError
from gfl.files import replacing
from gfl.records.record import RUN_ID
from gfl.terminal import note, say

if TYPE_CHECKING:
    from gfl.data.images import Picture
    from gfl.pictures.detecting import Detection
    from gfl.predictions.trained import Trained

FLOOR = 0.05  # least score that most evaluations keep, as in mmdet's configurations
LONGEST = 30  # columns of a class name
DIGITS = 6  # of the numbers in JSON: beyond float32's precision in pixels


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """The options of what is printed and drawn.

    Args:
        out: the folder of the drawn pictures (beside the originals; with --json none)
        distributions: the four P(x) of the best boxes, too
        top: how many boxes' distributions are drawn
        json: for programs: an object for each picture, on a line
    """

    out: Path | None = None
    threshold: Annotated[
        float,
        Parameter(
            converter=number("a score from 0 to 1", lambda value: 0 <= value <= 1),
            help=f"the minimum score to print and draw; most detectors give none of {FLOOR} or "
            "less, SSD512 none of 0.02, some of Table 4's go lower",
        ),
    ] = 0.3
    distributions: Flag = False
    top: Count = 4
    json: Flag = False


def detect(
    *picture: str,
    run: str | None = None,
    weights: Weights = None,
    row: Row = None,
    output: Output = Output(),
    seeds: Seeds = SEEDS,
    device: Device = "auto",
    where: Where = Where(),
) -> int:
    """Detect in pictures of your own, with a run or with a third-party checkpoint.

    The exit code is 2 if a picture was refused.

    Args:
        picture: a picture, or a folder
        run: the run to detect with: its id, table-3/QFL, its folder

    Raises:
        UserError: the run has no weights here, nothing to detect in is named, or the folder for
            the drawn pictures cannot be written to.
    """
    if not picture:
        _check_named(run, weights, row)
        raise UserError("no picture named: gfl detect image.jpg --run RUN")
    others = _others(run, weights, row)
    run_dir = None if run is None else find(run, where, seeds)
    if output.out is not None:
        matrix.check_writable(output.out)
    from gfl.pictures import detecting, fonts, reading  # takes seconds: after the checks

    files, complaints = reading.listed(map(Path, picture))
    for complaint in complaints:
        note(complaint)
    if not files:
        return 2
    used = "cuda" if device == "cuda" else "cpu"
    if run_dir is not None:
        detector, by = detecting.detector(run_dir, used), {}
    else:
        assert others is not None
        detector, by = _with_weights(*others, used)
    if without := fonts.missing(detector.classes):
        note(without)
    if output.distributions and not detecting.has_distributions(detector):
        note(
            f"{detector.request.id}: it predicts one number per side (Dirac delta): there are no "
            "distributions to draw"
        )
    draws = output.out is not None or not output.json
    paths = drawn_as(files, output.out) if draws else [None] * len(files)
    refused = len(complaints)
    for file, path in zip(files, paths, strict=True):
        content: dict[str, Any] = {"picture": str(file), "run": detector.request.id, **by}
        try:
            content |= _one(detector, file, path, output)
        except UserError as err:
            note(str(err))
            refused += 1
            content["refused"] = str(err)
        if output.json:
            say(json.dumps(content, allow_nan=False), flush=True)
    if not refused:
        return 0
    named = len(files) + len(complaints)
    note(f"{refused} of {named} refused" + (", the others are done" if refused < named else ""))
    return 2


def _check_named(run: str | None, weights: Path | None, row: str | None) -> None:
    """Reject a missing file or folder given as the detector."""
    if weights is not None:
        _others(run, weights, row)
    elif run is not None and not Path(run, "request.json").is_file() and matrix.is_path(run):
        raise UserError(matrix.path_problem(run))


def _others(
    run: str | None, weights: Path | None, row: str | None
) -> tuple[matrix.Run, Path] | None:
    """Return the row and the file of third-party weights, if these are the detector.

    Raises:
        UserError: neither they nor a run are given, or both.
    """
    if weights is None and row is None:
        if run is None:
            raise UserError("no model given: use --run RUN, or --weights FILE.pth --as ROW")
        return None
    if run is not None:
        raise UserError("--run and --weights: a run has weights of its own, name one of them")
    return weights_of(weights, row)


def _with_weights(
    row: matrix.Run, path: Path, device: Literal["cpu", "cuda"]
) -> tuple[Trained, dict[str, Any]]:
    """Return a row's detector with third-party weights, and their description for JSON.

    Its classes are those the file names; without any, COCO's.
    """
    from gfl.data import weights
    from gfl.pictures.detecting import TRACED
    from gfl.predictions import evaluation

    checkpoint = weights.read(path)
    name = evaluation.name_of(row.experiment, checkpoint.sha256)
    classes = checkpoint.classes
    run = loaded(checkpoint, row, name, path.parent, device, classes=classes, head=TRACED)
    return run, {"weights": str(path), "as": row.rows[0]}


def find(name: str, where: Where, seeds: Sequence[int]) -> Path:
    """Return the folder of a run, given by its folder, its id, or a table's cell.

    Raises:
        UserError: there is no such run, or it has no trained weights here.
    """
    if Path(name, "request.json").is_file():
        return Path(name)
    profile, store = where.found(), where.store()
    if RUN_ID.fullmatch(name):  # runs found here are known, whether or not they are still declared
        folders = sorted(folder.name for folder in store.runs.glob("*") if folder.is_dir())
        for folder in (profile.name, *folders):
            if store.run_dir(folder, name).joinpath("final.pth").is_file():
                return store.run_dir(folder, name)
        if mine := own.folder_of(name, store.runs):
            return mine
    if len(seeds) > 1:
        raise UserError(f"--seeds: one run detects, not {len(seeds)}")
    run = diff.find(name, profile.name, seeds[0], where.gpus, store)
    run_dir = store.run_dir(run.profile.name, run.id)
    if not (run_dir / "final.pth").is_file():
        raise UserError(f"{run.id} has no trained weights here; it is trained by: {run.command}")
    return run_dir


def drawn_as(files: Sequence[Path], out: Path | None) -> list[Path]:
    """Return the output path of each picture: ``<stem>.boxes.png``, unique and no input's name.

    Of several with one stem the first gets that name, the others an added number. Names that
    differ only in case are equal, as they are on some disks.
    """
    taken = {_key(file) for file in files}
    outputs = []
    for file in files:
        folder, number = out or file.parent, 1
        stem = escape.file_name(file.stem)
        output = folder / f"{stem}.boxes.png"
        while _key(output) in taken:
            number += 1
            output = folder / f"{stem}-{number}.boxes.png"
        taken.add(_key(output))
        outputs.append(output)
    return outputs


def _one(run: Trained, file: Path, path: Path | None, output: Output) -> dict[str, Any]:
    """Detect in one picture, draw the result if ``path`` is given, and return it for JSON."""
    from gfl.data import images
    from gfl.pictures import detecting

    picture = images.read(file)
    if picture.remark:
        note(f"{images.named(file)}: {picture.remark}")
    found = detecting.detect(run, picture, output.threshold)
    drawn = {}
    if path is not None:
        _draw(picture, found, path, output.top if output.distributions else 0)
        drawn = {"drawn": str(path)}
    if not output.json and path is not None:
        best = ", ".join(
            f"{escape.shortened(one.category, LONGEST)} {one.score:.2f}" for one in found[:3]
        )
        more = ", …" if len(found) > 3 else ""
        least = max(output.threshold, run.least_score)
        nothing = f"nothing found of score {least:g} or more"
        what = f"{len(found)} found ({best}{more})" if found else nothing
        say(f"{images.named(file)}: {what}; drawn: {images.named(path)}", flush=True)
    return {
        "width": picture.width,
        "height": picture.height,
        **drawn,
        "detections": [_content(one, output.distributions) for one in found],
    }


def _draw(picture: Picture, found: Sequence[Detection], output: Path, top: int) -> None:
    from gfl.data import images
    from gfl.pictures import drawing, panels

    best = [one for one in found[:top] if one.distributions is not None]
    image = panels.below(drawing.boxes(picture, found, numbered=len(best)), picture, best)
    try:
        with replacing(output) as file:
            image.save(file, format="PNG")
    except OSError as err:
        raise UserError(
            f"{images.named(output)}: cannot be written ({err.strerror or err}); "
            "--out names another folder"
        ) from err


def _content(one: Detection, distributions: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"category": one.category, "score": one.score, "box": one.box}
    if distributions:
        sides = one.distributions
        content["distributions"] = None if sides is None else sides.content()
    return json.loads(json.dumps(content), parse_float=lambda x: round(float(x), DIGITS))


def _key(path: Path) -> str:
    """Return a key shared by different names of one file, without following a final link."""
    return str(path.parent.resolve() / path.name).casefold()
