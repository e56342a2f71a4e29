"""Slow results made in several processes, ahead of the checks that read them from the cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from analysis import cache
from analysis.library import Library
from analysis.pool import Reporter, kept_workers
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Profile
from gfl.records.record import Store

if TYPE_CHECKING:
    from analysis.measures.evidence import Evidence

Run = tuple[AnyExperiment, int]  # of a seed


def make(profile: Profile, store: Store, report: Reporter) -> None:
    """Measure every quantity of a profile's runs, and sort every run's errors.

    What cannot be made is left to the check that needs it, and so is everything where results
    cannot be kept, as in a read-only checkout.

    Raises:
        UserError: a run's predictions are damaged.
    """
    if not cache.is_writable():
        return
    from analysis.measures.evidence import gather
    from analysis.measures.kept import QUANTITIES
    from analysis.measures.scale import SCALE

    evidence = gather(Library(store), profile, report)
    runs: list[Run] = [(e, seed) for e, seeds in evidence.metrics.items() for seed in seeds]
    names = [*QUANTITIES, *SCALE]
    with kept_workers(len(runs) + len(names), _making, profile, store) as each:
        for _ in each([*names, *runs]):
            pass
    report(f"{profile.name}: {len(names)} quantities, errors of {len(runs)} runs")


def _making(profile: Profile, store: Store) -> Callable[[str | Run], None]:
    from analysis.measures.evidence import gather

    return partial(_make, gather(Library(store), profile))


def _make(evidence: Evidence, one: str | Run) -> None:
    from analysis.errors.runs import of_run
    from analysis.measures.kept import QUANTITIES, measure
    from analysis.measures.scale import SCALE

    with suppress(UserError):  # the check that reads it says so
        if isinstance(one, str):
            measure(QUANTITIES[one] if one in QUANTITIES else SCALE[one].quantity, evidence)
        else:
            of_run(*one, evidence.profile, evidence.library)
