"""Records of runs that nobody trained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from experiments.matrix import Run
from gfl.records.record import METRICS, RunRecord


def record(**changes: Any) -> RunRecord:
    """A finished run's record; ``changes`` are the fields that a test cares about."""
    values: dict[str, Any] = {
        "id": "a-run-s0-00000000",
        "experiment": {},
        "profile": {},
        "seed": 0,
        "commit": None,
        "dirty": False,
        "versions": {},
        "hardware": {},
        "metrics": dict.fromkeys(METRICS, 12.34),
        "fps": None,
        "curve": [],
        "evals": [],
        "seconds": 60.0,
        "images_per_second": None,
        "max_iters": None,
        "state": "finished",
        "message": "",
        "started": "2020-01-01T00:00:00+00:00",
    }
    return RunRecord(**(values | changes))


def of(run: Run, **changes: Any) -> RunRecord:
    """The record of a declared run."""
    described = {"experiment": asdict(run.experiment), "profile": asdict(run.profile)}
    return record(**({"id": run.id, "seed": run.seed} | described | changes))
