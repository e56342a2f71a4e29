"""``python -m experiments predict``: what finished runs predict for the validation images.

With ``--run`` it is the former name of ``detect``, see ``cli.predict_pictures``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli import predict_pictures
from cli.options import add_profile, add_seeds, chosen
from experiments import matrix
from experiments.matrix import Run
from experiments.queue.machine import usable_cores
from gfl import escape
from gfl.errors import UserError
from gfl.predictions import schema
from gfl.records.record import Request, RunRecord, Store
from gfl.terminal import say
from gfl.training import worker

ABOUT = "store what finished runs predict for the validation images"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "target",
        nargs="*",
        metavar="RUN",
        help="a run's id, table-3/QFL, a table, all",
    )
    add_profile(parser)
    add_seeds(parser)
    parser.add_argument("--data", metavar="DIR", help="COCO's folder, for the coco profile")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    predict_pictures.add_options(parser, hidden=True)


def run(args: argparse.Namespace) -> int:
    """Store the predictions that are missing; print where those of each run lie.

    Raises:
        UserError: a run is not declared, not finished here, or its weights or data are damaged.
    """
    if args.run is not None:
        return predict_pictures.main(args)
    if not args.target:
        raise UserError("no run named: python -m experiments predict table-3/QFL, or a run's id")
    profile, store = chosen(args)
    if args.data and profile.dataset is not None:
        raise UserError(
            f"--data is for --profile coco and photos: {profile.name} draws its own images"
        )
    found = [run for target in args.target for run in matrix.select(target, profile, args.seeds)[1]]
    runs = list({run.id: run for run in found}.values())
    if not runs:
        raise UserError(
            f"{' '.join(args.target)}: no run is declared for it at the {profile.name} profile"
        )
    records = _finished(runs, store)
    for one, record in zip(runs, records, strict=True):
        say(_predict(one, record, store, args), flush=True)
    return 0


def _finished(runs: Sequence[Run], store: Store) -> list[RunRecord]:
    """Return the runs' records; a capped run lies in another folder and does not count.

    Raises:
        UserError: a run is not finished here.
    """
    records = [store.own(run.profile.name, run.id) for run in runs]
    found = [record for record in records if record and matrix.is_finished(record)]
    if len(found) == len(runs):
        return found
    missing = matrix.missing(runs, store)
    names = escape.some([run.id for run in missing])
    command = f"python -m experiments run {missing[0].id} --profile {missing[0].profile.name}"
    raise UserError(
        f"not finished on this machine: {names}; {command} trains "
        + ("it" if len(missing) == 1 else "the first")
    )


def _predict(one: Run, record: RunRecord, store: Store, args: argparse.Namespace) -> str:
    run_dir = store.run_dir(one.profile.name, one.id)
    is_sound = schema.verified(run_dir, record.predictions)
    if is_sound and record.predictions.keys() >= set(schema.least(one.profile)):
        return f"already there, verified: {_named(run_dir, record)}"
    if record.predictions and not is_sound:
        say(f"{one.id}: its predictions are missing or damaged; predicting again", error=True)
    matrix.check_writable(run_dir)
    device = _device(args.device, record)
    request = Request(
        one.id, one.experiment, one.profile, one.seed, args.data, device, args.gpus,
        max_iters=None, commit=None, dirty=False, cores=usable_cores(),
    )  # fmt: skip

    def tell(event: str, **content: Any) -> None:
        if event == "message":
            say(content["text"], error=True)
        elif "done" not in content or content["done"] in (0, content["of"]):
            of = f" ({content['done']} of {content['of']})" if "done" in content else ""
            say(f"{one.id}: {content['name']}{of}", error=True)

    made = worker.predict(request, run_dir, tell, device=device)
    record = replace(record, predictions=made)
    record.save(run_dir / "record.json")
    return f"written: {_named(run_dir, record)}"


def _device(wanted: str, record: RunRecord) -> Any:
    """Return the device that the run was trained on, unless it is absent or another is wanted."""
    if wanted != "auto":
        return wanted
    if record.hardware.get("device", "cpu") == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _named(run_dir: Path, record: RunRecord) -> str:
    files = [run_dir / name for name in record.predictions]
    return ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in files)
