"""``python -m experiments predict --run <id> image.jpg [folder …]``: detect in one's own pictures.

Each picture is written beside the original, or into a folder, with what was found in it; --json
says it to programs, one object a line. A file that is no sound picture is named, and the rest done.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import diff, matrix, own
from experiments.cli import chosen, whole_number
from experiments.profiles import TUNING_SEED
from gfl.errors import UserError
from gfl.files import replacing
from gfl.record import RUN_ID, Store
from gfl.terminal import say

if TYPE_CHECKING:
    from gfl.pictures.detecting import Detection
    from gfl.pictures.reading import Picture
    from gfl.trained import Trained

PROG = "experiments"
THRESHOLD, TOP = 0.3, 4
DIGITS = 6  # of the numbers in JSON: more than a float32 knows of pixels


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that pictures have."""
    pictures = parser.add_argument_group("pictures, instead of the validation images")
    pictures.add_argument(
        "--run",
        metavar="RUN",
        help="detect in pictures and folders of them, with this run: its id, table-3/QFL, a folder",
    )
    pictures.add_argument(
        "--out", type=Path, metavar="DIR", help="where the drawn pictures go (beside the originals)"
    )
    pictures.add_argument(
        "--threshold",
        type=_probability,
        default=THRESHOLD,
        metavar="SCORE",
        help=f"the least score of what is shown ({THRESHOLD})",
    )
    pictures.add_argument(
        "--distributions", action="store_true", help="the four P(x) of the best boxes, too"
    )
    pictures.add_argument(
        "--top",
        type=whole_number("--top", 1),
        default=TOP,
        metavar="K",
        help=f"how many boxes' distributions are drawn ({TOP})",
    )
    pictures.add_argument(
        "--json", action="store_true", help="for programs: an object for each picture, on a line"
    )


def main(args: argparse.Namespace) -> int:
    """Detect in ``args.target``'s pictures and folders; 2 if one of them was refused.

    Raises:
        UserError: the run has no weights here, nothing to detect in is named, or the folder for
            the drawn pictures cannot be written to.
    """
    if not args.target:
        raise UserError("no picture named: python -m experiments predict --run RUN image.jpg")
    run_dir = find(args)
    if args.out is not None:
        matrix.check_writable(args.out)
    from gfl.pictures import detecting, reading  # seconds, which a mistake need not wait for

    files, complaints = reading.listed(map(Path, args.target))
    for complaint in complaints:
        _say(complaint)
    if not files:
        return 2
    run = detecting.detector(run_dir, "cuda" if args.device == "cuda" else "cpu")
    if args.distributions and not detecting.has_distributions(run):
        _say(f"{run.request.id}: its sides are Dirac deltas, one number each: no distributions")
    outputs = drawn_as(files, args.out)
    refused = len(complaints)
    for file, output in zip(files, outputs, strict=True):
        content: dict[str, Any] = {"picture": str(file), "run": run.request.id}
        try:
            content |= _one(run, file, output, args)
        except UserError as err:
            _say(str(err))
            refused += 1
            content["refused"] = str(err)
        if args.json:
            say(json.dumps(content, allow_nan=False), flush=True)
    return _end(len(files) + len(complaints), refused)


def find(args: argparse.Namespace) -> Path:
    """Return the folder of the run that is meant: by its folder, its id, or as a table's cell.

    Raises:
        UserError: there is no such run, or it has no trained weights here.
    """
    name = str(args.run)
    if Path(name, "request.json").is_file():
        return Path(name)
    profile, store = chosen(args)
    if RUN_ID.fullmatch(name):  # what lies here is known, whether or not it is declared today
        for folder in (profile.name, *_folders(store)):
            if store.run_dir(folder, name).joinpath("final.pth").is_file():
                return store.run_dir(folder, name)
        if mine := own.folder_of(name, store.runs):
            return mine
    if len(args.seeds) > 1:
        raise UserError(f"--seeds: one run is asked, not {len(args.seeds)}")
    run = diff.find(name, profile.name, args.seeds[0], args.gpus, store)
    run_dir = store.run_dir(run.profile.name, run.id)
    if not (run_dir / "final.pth").is_file():
        raise UserError(f"{run.id} has no trained weights here; it is trained by: {_command(run)}")
    return run_dir


def drawn_as(files: Sequence[Path], out: Path | None) -> list[Path]:
    """Return where each picture is drawn: ``<stem>.boxes.png``, its own and no input's name.

    Of several with one stem the first has that name, the others a number as well. Upper and lower
    case are the same name, as they are on some disks.
    """
    taken = {_key(file) for file in files}
    outputs = []
    for file in files:
        folder, number = out or file.parent, 1
        output = folder / f"{file.stem}.boxes.png"
        while _key(output) in taken:
            number += 1
            output = folder / f"{file.stem}-{number}.boxes.png"
        taken.add(_key(output))
        outputs.append(output)
    return outputs


def _one(run: Trained, file: Path, output: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Detect in one picture, draw what was found, and return what JSON says of it."""
    from gfl.pictures import detecting, reading

    picture = reading.read(file)
    if picture.remark:
        _say(f"{reading.named(file)}: {picture.remark}")
    found = detecting.detect(run, picture, args.threshold)
    _draw(picture, found, output, args.top if args.distributions else 0)
    if not args.json:
        best = ", ".join(f"{one.category} {one.score:.2f}" for one in found[:3])
        more = ", …" if len(found) > 3 else ""
        what = f"{len(found)} found ({best}{more})" if found else "nothing found"
        say(f"{reading.named(file)}: {what}; drawn: {reading.named(output)}", flush=True)
    return {
        "width": picture.width,
        "height": picture.height,
        "drawn": str(output),
        "detections": [_content(one, args.distributions) for one in found],
    }


def _draw(picture: Picture, found: Sequence[Detection], output: Path, top: int) -> None:
    from gfl.pictures import drawing, panels, reading

    best = [one for one in found[:top] if one.distributions is not None]
    image = panels.below(drawing.boxes(picture, found, numbered=len(best)), picture, best)
    try:
        with replacing(output) as file:
            image.save(file, format="PNG")
    except OSError as err:
        raise UserError(
            f"{reading.named(output)}: cannot be written ({err.strerror or err}); "
            "--out names another folder"
        ) from err


def _content(one: Detection, distributions: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"category": one.category, "score": one.score, "box": one.box}
    if distributions:
        sides = one.distributions
        content["distributions"] = None if sides is None else sides.content()
    return _rounded(content)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def _end(named: int, refused: int) -> int:
    if not refused:
        return 0
    _say(f"{refused} of {named} refused" + (", the others are done" if refused < named else ""))
    return 2


def _say(text: str) -> None:
    say(f"{PROG}: {text}", error=True)


def _folders(store: Store) -> list[str]:
    return sorted(folder.name for folder in store.runs.glob("*") if folder.is_dir())


def _command(run: matrix.Run) -> str:
    profile = run.profile
    if run.seed == TUNING_SEED:
        return f"python -m experiments tune --profile {profile.name}"
    gpus = f" --gpus {profile.gpus}" if profile.gpus > 1 else ""
    data = "" if profile.dataset is not None else " --data DIR"
    return f"python -m experiments run {run.id} --profile {profile.name}{gpus}{data}"


def _key(path: Path) -> str:
    """Return what two names of one file have in common, without following the file itself."""
    return str(path.parent.resolve() / path.name).casefold()


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"--threshold {text!r}: expected a score from 0 to 1")
    return value
