"""The request of a run at seed 0 on one CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gfl.experiment import AnyExperiment, Profile
from gfl.records.record import Request, run_id


def request_of(experiment: AnyExperiment, profile: Profile, **changes: Any) -> Request:
    """Return the request, with its fields changed as given."""
    id = run_id(experiment, profile, 0)
    return replace(
        Request(id, experiment, profile, 0, None, "cpu", 1, None, None, False), **changes
    )
