"""``gfl predict``: stores finished runs' predictions for the validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.options import SEEDS, Device, Seeds, Where, check_data
from experiments import matrix
from experiments.matrix import Run
from experiments.queue.machine import usable_cores
from gfl import escape
from gfl.errors import UserError
from gfl.predictions import schema
from gfl.records.record import Request, RunRecord, Store
from gfl.terminal import say
from gfl.training import worker


def predict(
    *run: str,
    seeds: Seeds = SEEDS,
    data: str | None = None,
    device: Device = "auto",
    where: Where = Where(),
) -> int:
    """Store what finished runs predict for the validation images.

    Args:
        run: a run's id, table-3/QFL, a table, all
        data: COCO's folder, for the coco profile

    Raises:
        UserError: a run is not declared, not finished locally, or its weights or data are damaged.
    """
    if not run:
        raise UserError("no run named: gfl predict table-3/QFL, or a run's id")
    profile, store = where.found(), where.store()
    check_data(data, profile)
    _, runs = matrix.select_all(run, profile, seeds)
    if not runs:
        raise UserError(f"{' '.join(run)}: no run is declared for it at the {profile.name} profile")
    records = _finished(runs, store)
    for one, record in zip(runs, records, strict=True):
        request = Request(
            one.id, one.experiment, one.profile, one.seed, data, device, where.gpus,
            max_iters=None, commit=None, dirty=False, cores=usable_cores(),
        )  # fmt: skip
        say(_predict(one, record, store, request), flush=True)
    return 0


def _finished(runs: Sequence[Run], store: Store) -> list[RunRecord]:
    """Return the runs' records; a capped run has another folder and does not count.

    Raises:
        UserError: a run is not finished locally.
    """
    records = [store.local(run.profile.name, run.id) for run in runs]
    finished = [record for record in records if record and record.is_finished]
    if len(finished) == len(runs):
        return finished
    ids = {record.id for record in finished}
    missing = [run for run in runs if run.id not in ids]
    names = escape.some([run.id for run in missing])
    raise UserError(
        f"not finished locally: {names}; {missing[0].command} trains "
        + ("it" if len(missing) == 1 else "the first")
    )


def _predict(one: Run, record: RunRecord, store: Store, request: Request) -> str:
    run_dir = store.run_dir(one.profile.name, one.id)
    is_sound = schema.verified(run_dir, record.predictions)
    if is_sound and record.predictions.keys() >= set(schema.least(one.profile)):
        return f"already there, verified: {_named(run_dir, record)}"
    if record.predictions and not is_sound:
        say(f"{one.id}: its predictions are missing or damaged; predicting again", error=True)
    matrix.check_writable(run_dir)

    def emit(event: str, **content: Any) -> None:
        if event == "message":
            say(content["text"], error=True)
        elif "done" not in content or content["done"] in (0, content["of"]):
            of = f" ({content['done']} of {content['of']})" if "done" in content else ""
            say(f"{one.id}: {content['name']}{of}", error=True)

    device = _device(request.device, record)
    made = worker.predict(replace(request, device=device), run_dir, emit, device=device)
    record = replace(record, predictions=made)
    record.save(run_dir / "record.json")
    return f"written: {_named(run_dir, record)}"


def _device(wanted: str, record: RunRecord) -> Any:
    """Return the device the run was trained on, unless it is absent or another is requested."""
    if wanted != "auto":
        return wanted
    if record.hardware.get("device", "cpu") == "cpu":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _named(run_dir: Path, record: RunRecord) -> str:
    files = [run_dir / name for name in record.predictions]
    return ", ".join(f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in files)
