"""Verdicts on made-up runs whose effects are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import record

from analysis.claims.verdict_on_runs import VerdictOnRuns, judge_all
from analysis.library import Library
from analysis.measures.evidence import Evidence
from analysis.stats.correction import LEVEL
from analysis.stats.resampling import Replicates
from analysis.stats.uncertainty import Noise
from experiments.claims.declare import (
    BELOW,
    At,
    Check,
    Claim,
    Contrast,
    Identity,
    Quote,
    above,
    within,
)
from experiments.profiles import COCO, LAPTOP
from experiments.tables import catalogue
from experiments.tables.table3 import TABLE as TABLE_3
from gfl.experiment import Experiment
from gfl.records.record import METRICS, Store

NONE, QFL, DFL, BOTH = (At("table-3", key) for key in ("none", "QFL", "DFL", "both"))
ROWS: dict[str, Experiment] = {r.key: r.experiment for r in TABLE_3.rows if r.experiment}
RESAMPLES = 200
APs = Mapping[str, Mapping[int, float]]  # of Table 3's rows, by seed


def evidence(aps: APs, folder: Path, spread: float = 0.2, images: float = 0.2) -> Evidence:
    """Runs of Table 3 with these APs, and a standard deviation over seeds and images."""
    rng = np.random.default_rng(0)
    metrics = {}
    for row, of in aps.items():
        noise_of_images = images * rng.normal(size=RESAMPLES)  # the same for a row's seeds
        metrics[ROWS[row]] = {seed: replicated(ap, noise_of_images) for seed, ap in of.items()}
    records = {
        ROWS[row]: {seed: record(id=f"{row}-s{seed}", seed=seed) for seed in of}
        for row, of in aps.items()
    }
    noise = {metric: Noise(spread, 20) for metric in METRICS}
    library = Library(Store(folder / "runs", folder / "results"), "reference")
    return Evidence(library, LAPTOP, records, metrics, noise)


def replicated(ap: float, noise: np.ndarray) -> Replicates:
    metrics = np.full(12, ap)
    return Replicates(metrics, metrics + (noise - noise.mean())[:, None], "draw")


def claim(*checks: Check, id: str = "one") -> Claim:
    return Claim(id, (Quote("It is so.", "Section 4"),), "it is so", "it is not", checks)


def tried(*checks: Check, of: Evidence) -> VerdictOnRuns:
    return judge_all([claim(*checks)], of)["one"]


@pytest.fixture
def aps() -> dict[str, dict[int, float]]:
    return {
        "none": {0: 40.0, 1: 40.0, 2: 40.0},
        "QFL": {0: 43.0, 1: 43.1, 2: 42.9},
        "DFL": {0: 40.1, 1: 40.0, 2: 40.05},
    }


def test_a_clear_effect_is_supported_and_its_opposite_refuted(aps: APs, tmp_path: Path) -> None:
    found = evidence(aps, tmp_path)
    better = tried(above("QFL − none", QFL, NONE), of=found)
    assert better.verdict == "supported"
    assert better.checks[0].value == pytest.approx(3.0)
    assert better.checks[0].seeds == (0, 1, 2)
    assert better.checks[0].runs[0] == "QFL-s0"
    worse = tried(above("none − QFL", NONE, QFL), of=found)
    assert worse.verdict == "refuted"
    assert worse.p == pytest.approx(better.p)


def test_a_claim_and_its_refutation_never_get_one_verdict(aps: APs, tmp_path: Path) -> None:
    """The same contrast above 0 and below it: one is true, and what supports one refutes it."""
    opposite = {"supported": "refuted", "refuted": "supported", "within noise": "within noise"}
    for gap in (-3.0, -0.6, 0.0, 0.1, 0.6, 3.0):
        found = evidence({**aps, "QFL": {0: 40 + gap}}, tmp_path)
        terms = ((1.0, QFL), (-1.0, NONE))
        one = tried(Contrast("up", terms), of=found)
        other = tried(Contrast("down", terms, BELOW), of=found)
        assert other.verdict == opposite[one.verdict]


def test_a_small_effect_is_within_noise(aps: APs, tmp_path: Path) -> None:
    found = tried(above("DFL − none", DFL, NONE), of=evidence(aps, tmp_path))
    assert found.verdict == "within noise"
    assert found.p is not None
    assert found.p > LEVEL


def test_one_check_that_fails_refutes_and_one_that_is_unclear_leaves_it_open(
    aps: APs, tmp_path: Path
) -> None:
    found = evidence(aps, tmp_path)
    clear, unclear = above("QFL − none", QFL, NONE), above("DFL − none", DFL, NONE)
    wrong = above("none − QFL", NONE, QFL)
    assert tried(clear, unclear, of=found).verdict == "within noise"
    assert tried(clear, unclear, wrong, of=found).verdict == "refuted"
    assert tried(clear, clear, of=found).verdict == "supported"


def test_an_equivalence_is_supported_only_if_the_data_are_precise(aps: APs, tmp_path: Path) -> None:
    check = within("DFL and none", DFL, NONE, margin=0.5, on_shapes=1.0)
    assert tried(check, of=evidence(aps, tmp_path)).verdict == "supported"
    assert tried(check, of=evidence(aps, tmp_path, spread=2.0)).verdict == "within noise"
    apart = {**aps, "DFL": {0: 44.0, 1: 44.0, 2: 44.0}}
    assert tried(check, of=evidence(apart, tmp_path)).verdict == "refuted"


def test_other_data_have_their_own_bounds_and_coco_the_papers(aps: APs, tmp_path: Path) -> None:
    """3 AP are not within 1 AP of 1; where only the sign is claimed, they are above 0."""
    check = Contrast("a size", ((1.0, QFL), (-1.0, NONE)), (0.0, 2.0), elsewhere=(0.0, math.inf))
    found = evidence(aps, tmp_path)
    assert tried(check, of=found).verdict == "supported"
    at_coco = replace(found, profile=replace(LAPTOP, name="coco"))  # with images, as COCO's has not
    assert tried(check, of=at_coco).verdict == "refuted"


def test_an_interaction_is_one_contrast_of_four_runs(aps: APs, tmp_path: Path) -> None:
    terms = ((1.0, BOTH), (-1.0, QFL), (-1.0, DFL), (1.0, NONE))
    check = Contrast("interaction", terms, (-1.0, 1.0))
    both = {seed: aps["QFL"][seed] + aps["DFL"][seed] - 40.0 for seed in range(3)}
    found = tried(check, of=evidence({**aps, "both": both}, tmp_path))
    assert found.checks[0].value == pytest.approx(0.0)
    low, high = found.checks[0].interval or (0.0, 0.0)
    assert high - low > 2 * 1.96 * 0.2 * math.sqrt(4 / 3)  # four seeds' noises at least
    assert found.verdict == "supported"


def test_missing_runs_leave_a_claim_untested_and_say_what_to_type(aps: APs, tmp_path: Path) -> None:
    found = evidence(aps, tmp_path)
    check = above("both − none", BOTH, NONE)
    open_ = tried(check, above("QFL − none", QFL, NONE), of=found)
    assert open_.verdict == "untested"
    assert "gfl run atss-joint-general-dfl-s0-1c4ec872" in open_.why
    assert open_.checks[1].value == pytest.approx(3.0)
    refuted = tried(check, above("none − QFL", NONE, QFL), of=found)
    assert refuted.verdict == "refuted"
    assert "not tested: both − none" in refuted.why


def test_one_seed_decides_nothing_where_no_row_has_several(aps: APs, tmp_path: Path) -> None:
    found = replace(evidence({"QFL": {0: 45.0}, "none": {0: 40.0}}, tmp_path), noise={})
    alone = tried(above("QFL − none", QFL, NONE), of=found)
    assert alone.verdict == "untested"
    assert "one training" in alone.why
    assert alone.checks[0].value == pytest.approx(5.0)
    several = replace(evidence(aps, tmp_path), noise={})  # its own seeds' spread is all there is
    assert tried(above("QFL − none", QFL, NONE), of=several).verdict == "supported"


def test_without_matches_and_images_nothing_is_tested(aps: APs, tmp_path: Path) -> None:
    found = replace(evidence(aps, tmp_path), profile=COCO, metrics={})

    assert "gfl run" in tried(above("QFL − none", QFL, NONE), of=found).why


def test_a_run_compared_with_itself_says_nothing(aps: APs, tmp_path: Path) -> None:
    same = At("table-1a", "joint w/ QFL/ATSS")  # is Table 3's QFL
    found = tried(above("joint − QFL", same, QFL), of=evidence(aps, tmp_path))
    assert found.verdict == "untested"
    assert "one and the same run" in found.why


def test_rows_that_no_run_can_have_say_why(
    aps: APs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evidence(aps, tmp_path)
    table = catalogue.find("table-4")
    rows = [replace(r, experiment=None) if r.key == "ATSS R-101" else r for r in table.rows]
    altered = replace(table, rows=tuple(rows), profiles=("coco",))
    monkeypatch.setitem(catalogue.TABLES, "table-4", altered)
    ours, theirs = At("table-4", "GFL R-101"), At("table-4", "ATSS R-101")
    assert "from others" in tried(above("GFL − ATSS", theirs, ours), of=found).why
    plain = At("table-4", "GFL R-50")
    assert "at the coco profile only" in tried(above("GFL", ours, plain), of=found).why


def test_a_speed_from_records_is_no_evidence(aps: APs, tmp_path: Path) -> None:
    fps = replace(QFL, column="FPS"), replace(NONE, column="FPS")
    check = replace(above("QFL − none, FPS", *fps), paper_only=True)
    alone = tried(check, of=evidence(aps, tmp_path))
    assert alone.verdict == "untested"
    assert "FPS in records" in alone.why
    beside = tried(check, above("QFL − none", QFL, NONE), of=evidence(aps, tmp_path))
    assert beside.verdict == "supported"  # only what our runs could show counts
    assert len(beside.checks) == 1


def test_what_a_profiles_data_cannot_show_is_untested(aps: APs, tmp_path: Path) -> None:
    blind = replace(claim(above("QFL − none", QFL, NONE)), blind={"laptop": "no such targets"})
    found = judge_all([blind], evidence(aps, tmp_path))["one"]
    assert (found.verdict, found.why) == ("untested", "no such targets")
    assert found.p is None


def test_an_identity_is_decided_outright_and_not_counted(aps: APs, tmp_path: Path) -> None:
    identity = Identity("QFL's minimum", "qfl-lower-elsewhere", (-1e-9, 1e-9))
    impossible = replace(identity, bounds=(1.0, 2.0))
    found = judge_all(
        [
            claim(identity, id="true"),
            claim(impossible, id="false"),
            claim(above("QFL − none", QFL, NONE), impossible, id="mixed"),
            claim(above("DFL − none", DFL, NONE), id="tested"),
        ],
        evidence(aps, tmp_path),
    )
    assert [found[id].verdict for id in ("true", "false", "mixed")] == [
        "supported",
        "refuted",
        "refuted",
    ]
    assert found["true"].p is None
    assert found["tested"].p == found["tested"].p_corrected  # the only one of the family


def test_more_claims_ask_for_more_of_each(aps: APs, tmp_path: Path) -> None:
    """An effect that is clear alone is no longer clear among many that are not."""
    found = evidence({**aps, "DFL": {0: 40.0}, "QFL": {0: 41.0}}, tmp_path)
    alone = [claim(above("QFL − none", QFL, NONE), id="clear")]
    many = [claim(above("DFL − none", DFL, NONE), id=f"other {i}") for i in range(20)]
    assert judge_all(alone, found)["clear"].verdict == "supported"
    assert judge_all([*alone, *many], found)["clear"].verdict == "within noise"


def test_a_claim_without_checks_is_untested(aps: APs, tmp_path: Path) -> None:
    assert tried(of=evidence(aps, tmp_path)).verdict == "untested"


def test_runs_that_do_not_differ_are_rarely_said_to(tmp_path: Path) -> None:
    """Four rows of one true AP, whose noise is known: any verdict is wrong, 5 % of the time."""
    rng = np.random.default_rng(3)
    wrong, trials, spread, images = 0, 300, 0.5, 0.5
    pairs = [(QFL, NONE), (DFL, NONE), (BOTH, NONE), (BOTH, QFL)]
    claims = [claim(above("a", *pair), id=str(i)) for i, pair in enumerate(pairs)]
    for _ in range(trials):
        rows = {row: {s: 40 + rng.normal(scale=spread) for s in range(3)} for row in ROWS}
        shifts = {row: rng.normal(scale=images) for row in rows}  # of the images at hand
        seen = {row: {s: ap + shifts[row] for s, ap in of.items()} for row, of in rows.items()}
        found = judge_all(claims, evidence(seen, tmp_path, spread, images))
        wrong += any(one.verdict != "within noise" for one in found.values())
    assert wrong / trials <= LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / trials)
