"""The committed verdicts are of the committed records and of the claims as they are declared.

That every number of them is what the records give, ``make audit STRICT=1`` finds out in minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.verdict_on_paper import verdict
from experiments.claims import CLAIMS, TEXT_CHECKS
from gfl.records.record import read_json

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return json.loads((RESULTS / "claims.json").read_text(encoding="utf-8"))


def test_they_are_of_the_committed_records(committed: dict[str, Any]) -> None:
    for profile, at in committed["profiles"].items():
        for id, checksum in at["records"].items():
            path = RESULTS / "runs" / profile / f"{id}.json"
            assert read_json(path)["sha256"] == checksum, f"{id}: make audit"


def test_they_are_of_the_claims_as_declared(committed: dict[str, Any]) -> None:
    declared = [(c.id, c.says, c.refuted_by, c.note) for c in CLAIMS]
    names = ("id", "says", "refuted_by", "note")
    assert [tuple(c[name] for name in names) for c in committed["claims"]] == declared
    assert [c["id"] for c in committed["text_checks"]] == [c.id for c in TEXT_CHECKS]
    for claim, found in zip(CLAIMS, committed["claims"], strict=True):
        assert found["printed"]["verdict"] == verdict(claim).verdict, claim.id


def test_every_verdict_says_why_and_what_was_tested(committed: dict[str, Any]) -> None:
    for claim in committed["claims"]:
        for found in claim["ours"].values():
            assert found["why"], claim["id"]
            tested = found["verdict"] != "untested"
            assert not tested or any(c["value"] is not None for c in found["checks"])
            sure = found["p_corrected"] is None or found["p_corrected"] <= 0.05
            assert sure or found["verdict"] in ("within noise", "untested")
