"""Records and claims of Table 3, with HTML in every string that these may bring to a report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recorded

from experiments import matrix, profiles
from experiments.tables import catalogue
from gfl.records.record import METRICS, Store

EVIL = '<img src=x onerror="window.hacked=1"></td><script>window.hacked=1</script>\'{{7*7}}'
# AP of Table 3's rows at seeds 0 and 1; "both" is left to one seed.
APS = {"none": (70.0, 71.0), "QFL": (72.0, 73.5), "DFL": (71.5, 71.5), "both": (74.0, None)}
LAPTOP = profiles.get("laptop")


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


def claims(store: Store, ids: tuple[str, ...]) -> dict[str, Any]:
    """Three claims, one of each kind of verdict."""
    paths = {id: store.reference_path("laptop", id) for id in ids}
    sums = {id: json.loads(path.read_text())["sha256"] for id, path in paths.items()}
    verdicts = (
        ("holds", "supported", 0.004, 1.5),
        ("holds in part", "refuted", 0.03, -2.0),
        ("does not hold", "untested", None, None),
    )
    return {
        "schema": 1,
        "correction": f"Holm {EVIL}",
        "noise_of_the_paper": "one training each",
        "profiles": {
            "laptop": {"records": sums, "seed_noise": {"AP": {"spread": 0.5}}, "tested": 2}
        },
        "claims": [_claim(f"claim-{i}", *verdict, ids) for i, verdict in enumerate(verdicts)],
        "text_checks": [
            {
                "id": "same-row",
                "one": {"text": f"39.2 {EVIL}", "place": "Table 1(a)"},
                "other": {"text": "39.2", "place": "Table 3"},
                "finding": "agree",
                "why": "one model",
            }
        ],
    }


def _claim(
    id: str, printed: str, ours: str, p: float | None, value: float | None, ids: tuple[str, ...]
) -> dict[str, Any]:
    ends = (None, None) if value is None else (value - 1, value + 1)
    label = f"QFL − none, AP {EVIL}"
    check = {"label": label, "value": value, "low": ends[0], "high": ends[1], "seeds": [0, 1]}
    check |= {"bounds": [0.0, None], "p_holds": p, "p_fails": None if p is None else 1 - p}
    paper = {"label": label, "value": 0.7, "low": 0.0, "high": None, "state": "holds"}
    return {
        "id": f"{id}{EVIL}",
        "says": f"What {id} says {EVIL}",
        "refuted_by": "a lower AP",
        "note": EVIL,
        "quotes": [{"text": f"QFL is better {EVIL}", "place": "Section 4"}],
        "printed": {"verdict": printed, "where": EVIL, "checks": [paper]},
        "ours": {
            "laptop": {
                "verdict": ours,
                "why": EVIL,
                "p": p,
                "p_corrected": p,
                "deciding": None if p is None else 0,
                "checks": [check | {"runs": [*ids[:2], EVIL], "missing": "", "how": ""}],
            }
        },
    }
