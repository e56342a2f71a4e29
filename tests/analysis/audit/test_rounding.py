"""What another processor may print is accepted, and an altered digit is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recorded import of

from analysis.audit.findings import compare
from analysis.audit.rounding import DOUBLES, FITS, moved, variants
from analysis.stats.uncertainty import Estimate
from experiments import profiles
from experiments.matrix import plan
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.experiment import Experiment

# Other processors, as far as libraries can be told to do without some of this one's instructions.
AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
PROCESSORS = {
    "this one": {},
    "without AVX-512": {
        "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Zen",
        "NPY_DISABLE_CPU_FEATURES": AVX512, "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "with SSE alone": {
        "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Prescott", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "NPY_DISABLE_CPU_FEATURES": f"{AVX512} AVX2 FMA3 AVX F16C",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4,-AVX",
    },
}  # fmt: skip


def csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.6g")


numbers = st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12)


@settings(deadline=None)  # of a machine that is busy with other work
@given(numbers, st.floats(-1, 1))
def test_a_number_that_is_off_by_less_than_the_noise_is_accepted(number, part) -> None:
    here, there = (pd.DataFrame({"x": [x]}) for x in (number, number * (1 + part * 0.99e-7)))
    assert csv(there) in variants(csv, here, 1e-7)


@settings(deadline=None)  # of a machine that is busy with other work
@given(numbers, st.sampled_from([1, -1]))
def test_an_altered_last_digit_is_not(number, by) -> None:
    """But where it is as near as the digit that is printed: there is no telling which is right."""
    text = f"{number:.5e}"
    altered = Decimal(text) + by * Decimal(10) ** (Decimal(text).adjusted() - 5)
    half = abs(float(altered) - float(text)) / 2
    assume(abs(float(altered) - number) > half + abs(number) * DOUBLES * 1.01)
    frame = pd.DataFrame({"x": [number]})
    assert csv(pd.DataFrame({"x": [float(altered)]})) not in variants(csv, frame, DOUBLES)


def test_all_that_is_computed_is_moved_and_nothing_else() -> None:
    difference = Estimate(2.0, (-4.0, 8.0), (0, 1))
    assert moved(difference, 1.5) == Estimate(3.0, (-6.0, 12.0), (0, 1))
    assert moved({0.5: [1.0, 2, "3.0", None, True]}, 2) == {0.5: [2.0, 2, "3.0", None, True]}
    frame = pd.DataFrame({"f": [1.0, np.inf, np.nan], "i": [1, 2, 3], "s": ["a", "b", "c"]})
    expected = frame.assign(f=[2.0, np.inf, np.nan])
    pd.testing.assert_frame_equal(moved(frame, 2), expected)
    declared = (profiles.SMOKE, Experiment(quality="joint", beta=2.5))
    assert moved(declared, 2) == declared
    record = of(plan([catalogue.find("table-3")], profiles.SMOKE, [0])[0], fps=2.0)
    twice = {name: 2 * value for name, value in record.metrics.items() if value is not None}
    assert moved(record, 2) == replace(record, metrics=record.metrics | twice, fps=4.0)


def test_a_digit_altered_beside_one_that_rounds_otherwise_is_found(tmp_path: Path) -> None:
    """The first cell is at the turn of its last digit; the second is not."""
    made = pd.DataFrame({"x": [0.12345650000001, 0.5]})
    path = tmp_path / "a.csv"
    for first in ("0.123456", "0.123457"):
        path.write_text(f"x\n{first}\n0.5\n")
        assert list(compare(path, variants(csv, made, DOUBLES))) == []
        path.write_text(f"x\n{first}\n0.500001\n")
        (found,) = compare(path, variants(csv, made, DOUBLES))
        assert (found.committed, found.expected) == ("0.500001", "0.5")


@pytest.fixture(scope="module")
def computed() -> dict[str, dict[str, Any]]:
    """The numbers of ``computed.py`` on each processor."""
    script = Path(__file__).with_name("computed.py")
    kept = {k: v for k, v in os.environ.items() if k not in PROCESSORS["with SSE alone"]}
    running = {
        name: subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
            stdout=subprocess.PIPE,
        )
        for name, variables in PROCESSORS.items()
    }
    found = {name: process.communicate()[0] for name, process in running.items()}
    assert [process.returncode for process in running.values()] == [0] * len(running)
    return {name: json.loads(text) for name, text in found.items()}


@pytest.mark.parametrize("other", list(PROCESSORS)[1:])
def test_other_processors_compute_the_same_within_the_noise(computed, other) -> None:
    here, there = computed["this one"], computed[other]
    assert here.keys() == there.keys()
    for name, values in here.items():
        # What is 0 but for rounding is printed as 0: the equations' identities.
        noise = {"rtol": FITS if name == "simulation" else DOUBLES, "atol": 1e-13}
        np.testing.assert_allclose(there[name], values, **noise, err_msg=name)
