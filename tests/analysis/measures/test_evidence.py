"""Whose seeds a comparison's noise is estimated from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from recorded import record

from analysis.claims.verdicts import AtProfile, SeedNoise
from analysis.claims.wording import of_seeds
from analysis.library import Library
from analysis.measures.evidence import gather
from analysis.stats.uncertainty import Noise
from experiments.claims.declare import At
from experiments.profiles import LAPTOP
from gfl.experiment import AnyExperiment, at_scale
from gfl.records.record import METRICS, Store, run_id

PLAIN, QFL = At("table-3", "none"), At("table-3", "QFL")
SAPD, ATSS = At("table-4", "SAPD R-101"), At("table-4", "ATSS R-101")
APS = {PLAIN: (40.0, 40.2), QFL: (41.0, 41.2), SAPD: (50.0, 60.0), ATSS: (51.0,)}


def experiment(at: At) -> AnyExperiment:
    assert at.found.experiment is not None
    return at_scale(at.found.experiment, LAPTOP)


def test_table_4_leaves_the_noise_of_the_variants_of_one_detector_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs", tmp_path / "results")
    for at, aps in APS.items():
        for seed, ap in enumerate(aps):
            id = run_id(experiment(at), LAPTOP, seed)
            metrics = dict.fromkeys(METRICS, ap)
            made = record(id=id, seed=seed, profile="laptop", metrics=metrics)
            made.save(store.reference_path("laptop", id))
    found = gather(Library(store), LAPTOP)
    # Two rows of (x - .1, x + .1); and with them one of (55 - 5, 55 + 5).
    of_variants = Noise(pytest.approx(math.sqrt(0.04 / 2)), 2)
    of_all = Noise(pytest.approx(math.sqrt(50.04 / 3)), 3)
    assert found.noise_among([experiment(PLAIN), experiment(QFL)], "AP") == of_variants
    assert found.noise_among([experiment(PLAIN), experiment(SAPD)], "AP") == of_all
    assert found.noise_among([experiment(ATSS)], "AP") == of_all  # of one seed itself


def test_the_noise_is_stated_once_if_it_is_the_same() -> None:
    narrow, wide = {"AP": SeedNoise(0.6, 20, 10, 0.4)}, {"AP": SeedNoise(1.6, 22, 11, 1e-6)}
    both = of_seeds(AtProfile(LAPTOP, {}, narrow, {}, noise_of_all=wide))
    assert "over the 10 rows of Tables 1 to 3 that have several (20 degrees of freedom)" in both
    assert "with Table 4's rows pooled over the 11 such rows (22 degrees" in both
    assert "Table 4" not in of_seeds(AtProfile(LAPTOP, {}, narrow, {}, noise_of_all=narrow))
    alone = of_seeds(AtProfile(LAPTOP, {}, {}, {}, noise_of_all=wide))
    assert alone.startswith("Standard deviation over seeds, for comparisons with Table 4's rows")
    assert of_seeds(AtProfile(LAPTOP, {}, {}, {})).startswith("No row has runs of several seeds")
