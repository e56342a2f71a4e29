import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recorded import record

from analysis.tables import agreement
from analysis.tables.agreement import Agreement, Bound
from analysis.tables.fill import Filled
from experiments.queue.worker import ROOT
from experiments.tables import catalogue as declared
from gfl.records.record import METRICS, RunRecord

CELLS = list(declared.find("table-3").cells())


def a_record(seed: int, ap: float) -> RunRecord:
    metrics = dict.fromkeys(METRICS, 50.0) | {"AP": ap}
    return record(seed=seed, metrics=metrics, fps=10.0, curve=[{"iter": 1, "loss": 1.0}])


def filled(reference: Any, local: Any) -> list[Filled]:
    """A row of the table each, its APs by seed; a local AP of None is no run."""
    rows = []
    for cell, theirs, ours in zip(CELLS, reference, local, strict=False):
        theirs = {seed: a_record(seed, float(ap)) for seed, ap in enumerate(theirs)}
        ours = {s: a_record(s, float(ap)) for s, ap in enumerate(ours) if ap is not None}
        rows.append(Filled(cell, theirs, ours, ()))
    return rows


def kinds(found: Agreement) -> list[str]:
    return [verdict.kind for verdict in found.verdicts]


def test_the_bound_is_students_t_of_the_pooled_deviation() -> None:
    # Deviations √0.02 and √0.18 with a degree of freedom each: √0.1 with 2. At 2 degrees
    # t(p) = (2p - 1) / √(2p (1 - p)), and p = 1 - 0.05 / (2 · 2) for the two runs.
    p = 0.9875
    bound = (2 * p - 1) / math.sqrt(2 * p * (1 - p)) * math.sqrt(2) * math.sqrt(0.1)
    reference = ((30.0, 30.2), (40.0, 40.6))
    found = agreement.agreement(filled(reference, ((30 + 0.999 * bound,), (40 - 1.001 * bound,))))
    assert found.bound is not None
    assert (found.bound.freedom, found.bound.runs) == (2, 2)
    assert found.bound.spread == pytest.approx(math.sqrt(0.1))
    assert found.bound.ap == pytest.approx(bound)
    assert kinds(found) == ["noise", "differs"]


def test_the_quantile_is_that_of_the_tables() -> None:
    assert Bound(1.0, 8, 1).quantile == pytest.approx(2.306, abs=5e-4)
    assert Bound(1.0, 10, 5).quantile == pytest.approx(3.169, abs=5e-4)  # two-sided 1 %


def test_runs_that_are_the_same_to_the_bit_take_no_share_of_the_level() -> None:
    found = agreement.agreement(filled(((30.0, 30.2), (40.0, 40.6)), ((30.0,), (40.1,))))
    assert kinds(found) == ["bit", "noise"]
    assert found.bound is not None
    assert found.bound.runs == 1


@pytest.mark.parametrize(("seeds", "local"), [(2, 1), (3, 1), (3, 3)])
def test_a_faithful_machine_is_seldom_told_otherwise(seeds: int, local: int) -> None:
    # Somewhat less often than the level: a run far out also widens the pooled deviation.
    draws, told = 400, 0
    rng = np.random.default_rng(0)
    for _ in range(draws):
        found = agreement.agreement(
            filled(rng.normal(size=(4, seeds)), rng.normal(size=(4, local)))
        )
        told += "differs" in kinds(found)
    assert 0.005 <= told / draws <= 0.05


def test_an_unfaithful_machine_is_told() -> None:
    rng = np.random.default_rng(0)
    local = rng.normal(size=(4, 1)) + np.array([0, 0, 0, 10])[:, None]
    lines = agreement.lines(filled(rng.normal(size=(4, 3)), local))
    assert lines[0] == (
        "The local runs do not agree with the reference: "
        "of 4 runs 3 within seed noise, 1 different."
    )


def test_one_seed_cannot_tell_noise_from_disagreement() -> None:
    cells = filled(((30.0,), (40.0,), (50.0,)), ((31.0,), (38.5,), (50.0,)))
    found = agreement.agreement(cells)
    assert kinds(found) == ["unknown", "unknown", "bit"]
    assert found.bound is None
    assert agreement.lines(cells) == [
        "The local runs differ from the reference's by at most 1.50 AP (1 of 3 are the same "
        "to the bit); the reference has one seed a row, and one seed cannot tell noise from "
        "disagreement.",
        "  none, seed 0: differs (+1.00 AP)",
        "  QFL, seed 0: differs (-1.50 AP)",
    ]


def test_equal_metrics_and_curve_are_the_same_to_the_bit() -> None:
    (cell,) = filled([(30.0,)], [(30.0,)])
    elsewhere = replace(cell.local[0], fps=99.0, seconds=5.0, hardware={"cpu": "another"})
    said = ["The local runs agree with the reference: 1 run to the bit."]
    assert agreement.lines([replace(cell, local={0: elsewhere})]) == said
    nearly = replace(elsewhere, curve=[{"iter": 1, "loss": math.nextafter(1.0, 2.0)}])
    assert kinds(agreement.agreement([replace(cell, local={0: nearly})])) == ["unknown"]


def test_the_bound_is_printed_with_its_level_and_freedom() -> None:
    lines = agreement.lines(filled(((30.0, 30.2), (40.0, 40.6)), ((30.1,), (40.1,))))
    assert lines[0] == "The local runs agree with the reference: of 2 runs 2 within seed noise."
    assert lines[1:3] == [
        "  none, seed 0: within seed noise (+0.10 AP)",
        "  QFL, seed 0: within seed noise (+0.10 AP)",
    ]
    assert lines[3] == (
        "Seed noise: |difference| ≤ 2.78 AP = 6.21·√2·0.32, a two-sided t-test at the level of "
        "5% for 2 runs together (Bonferroni); 0.32 AP is the reference's standard deviation over "
        "seeds, pooled over rows, with 2 degrees of freedom."
    )


def test_nothing_in_common_is_said() -> None:
    assert agreement.lines(filled([(30.0,)], [(None,)])) == [
        "No local run has a reference run of the same id to agree with."
    ]


def test_scipy_is_loaded_for_a_verdict_alone() -> None:
    code = "import sys, json, cli.artefacts; print(json.dumps('scipy' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert json.loads(done.stdout) is False, done.stderr
