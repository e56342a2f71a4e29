"""Records and claims of Table 3, with HTML in every string that these may bring to a report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import recorded

from analysis.claims.verdict_on_paper import CheckOnPaper, VerdictOnPaper
from analysis.claims.verdict_on_paper import Verdict as OnPaper
from analysis.claims.verdict_on_runs import CheckOnRuns, VerdictOnRuns
from analysis.claims.verdicts import AtProfile, SeedNoise, Verdicts
from analysis.errors.runs import ALL, Line, Report
from analysis.errors.tide import Errors
from analysis.speed.record import Assignment, Case, Loss, Machine
from analysis.stats.correction import P, Verdict
from experiments import matrix, profiles
from experiments.claims.declare import ABOVE, Claim, Quote, TextCheck
from experiments.named import PLAIN, QFL
from experiments.tables import catalogue
from gfl.experiment import Experiment
from gfl.records.record import METRICS, Store

EVIL = '<img src=x onerror="window.hacked=1"></td><script>window.hacked=1</script>\'{{7*7}}'
# AP of Table 3's rows at seeds 0 and 1; "both" is left to one seed.
APS = {"none": (70.0, 71.0), "QFL": (72.0, 73.5), "DFL": (71.5, 71.5), "both": (74.0, None)}
LAPTOP = profiles.get("laptop")


def _errors(missed: float) -> Errors:
    gain = dict.fromkeys(ALL, 0.0) | {"missed": missed}
    return Errors(96.5, 100, dict.fromkeys(ALL, 1), gain)


def _line(experiment: Experiment, row: str, *missed: float) -> Line:
    by_seed = {seed: _errors(one) for seed, one in enumerate(missed)}
    return Line(experiment, [f"{row} {EVIL}"], {0.5: by_seed, 0.75: by_seed})


# By the difference of QFL and plain ATSS: -0.5 at seed 0, -0.6 at seed 1.
ERRORS = Report((_line(PLAIN, "3 none", 0.75, 0.85), _line(QFL, "3 QFL", 0.25, 0.25)), ())
LOSS = Loss(
    Machine("cpu", None, "a CPU", 2, 1, f"2.11.0 {EVIL}", "c0ffee", 9.25),
    (800, 1333), 5, 15,
    (Case("GFLHead", 16, 10, 0.5, 1.25, 2.5, 2.25, 2.75, 1250.0, None),),
    (Assignment("ATSS", 16, 100, 0.0461, 34.0),),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """The page, the file it lies in, and what it was made of."""

    text: str
    path: Path
    store: Store
    ids: tuple[str, ...]  # of the runs


def fill(store: Store) -> tuple[str, ...]:
    """Write the records of Table 3's rows."""
    ids = []
    for run in matrix.plan(catalogue.parts("table-3"), LAPTOP, [0, 1]):
        row = run.rows[0].partition("/")[2]
        ap = APS[row][run.seed]
        if ap is None:
            continue
        metrics = {name: ap + 10 * i for i, name in enumerate(METRICS)}
        record = recorded.of(
            run,
            metrics=metrics,
            fps=10.0,
            commit="c0ffee" * 6,
            versions={"torch": "2.11.0", EVIL: EVIL},
            hardware={"cpu": f"a processor {EVIL}", "device": "cpu", "threads": 1},
            curve=[{"iter": 10 * i, "loss": 3.0 / (1 + i)} for i in range(40)],
        )
        path = store.reference_path("laptop", run.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        record.save(path)
        ids.append(run.id)
    return tuple(ids)


def claims(store: Store, ids: tuple[str, ...]) -> Verdicts:
    """Three claims, one of each kind of verdict."""
    paths = {id: store.reference_path("laptop", id) for id in ids}
    sums = {id: json.loads(path.read_text())["sha256"] for id, path in paths.items()}
    verdicts: tuple[tuple[OnPaper, Verdict, P | None, float | None], ...] = (
        ("holds", "supported", P(0.004, 0.996), 1.5),
        ("holds in part", "refuted", P(0.97, 0.03), -2.0),
        ("does not hold", "untested", None, None),
    )
    printed, tried, declared = {}, {}, []
    for i, (paper, ours, p, value) in enumerate(verdicts):
        id, label = f"claim-{i}{EVIL}", f"QFL − none, AP {EVIL}"
        quote = Quote(f"QFL is better {EVIL}", "Section 4")
        declared.append(Claim(id, (quote,), f"What claim-{i} says {EVIL}", "a lower AP", (), EVIL))
        check = CheckOnPaper(label, 0.7, ABOVE, "holds")
        printed[id] = VerdictOnPaper(paper, EVIL, (check,))
        ends = None if value is None else (value - 1, value + 1)
        runs = (*ids[:2], EVIL)
        missing = "" if p else f"no run {EVIL}"
        one = CheckOnRuns(label, ABOVE, value, ends, p, (0, 1), runs, missing)
        tried[id] = VerdictOnRuns(ours, EVIL, (one,), p and min(p.holds, p.fails), p and p.holds)
    noise = {"AP": SeedNoise(0.5, 1, 3, None)}
    text = TextCheck(
        "same-row", Quote(f"39.2 {EVIL}", "Table 1(a)"), Quote("39.2", "Table 3"), "agree", "one"
    )
    at = AtProfile(LAPTOP, sums, noise, tried, noise_of_all=noise)
    return Verdicts("reference", tuple(declared), (text,), printed, {"laptop": at})
