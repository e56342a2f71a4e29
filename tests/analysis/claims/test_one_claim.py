"""``gfl audit CLAIM``: one claim alone, from the committed verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.claims.stored import of_records
from cli.main import main
from experiments.claims import CLAIMS
from experiments.profiles import PROFILES
from experiments.queue.worker import ROOT
from gfl.records.record import Store

STORE = Store(ROOT / "runs", ROOT / "results", mend=False)


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_a_claim_is_printed_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "beta-2-best"]) == 0
    said = capsys.readouterr().out
    (claim,) = (claim for claim in CLAIMS if claim.id == "beta-2-best")
    lines = said.splitlines()
    assert lines[0] == claim.id
    assert f"Tested: {claim.says}. Refuted by: {claim.refuted_by}." in " ".join(lines)
    verdicts = of_records(STORE, "reference", list(PROFILES))
    for name, at in verdicts.profiles.items():
        found = at.on_runs[claim.id]
        assert f"By the {name} runs: {found.verdict}" in said
        for check in found.checks:
            assert check.label in said
            assert all(run in said for run in check.runs)
    others = [other.id for other in CLAIMS if other.id != claim.id]
    assert not any(line in others for line in lines)


def test_an_unknown_claim_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "beta-2-bst"]) == 2
    err = capsys.readouterr().err
    assert err == "gfl: unknown claim 'beta-2-bst'; did you mean 'beta-2-best'?\n"


@pytest.mark.parametrize("option", [["--strict"], ["--data", "."]])
def test_one_claim_is_not_checked_against_the_records(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "beta-2-best", *option]) == 2
    assert "no --strict, no --data" in capsys.readouterr().err


def test_without_an_audit_of_these_records_there_is_nothing_to_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    assert main(["audit", "beta-2-best", *folders]) == 2
    assert "claims.json is not there: make audit" in capsys.readouterr().err
    content = json.loads((ROOT / "results/claims.json").read_text(encoding="utf-8"))
    (tmp_path / "claims.json").write_text(json.dumps(content))
    assert main(["audit", "beta-2-best", *folders]) == 2
    assert "is of other records of " in capsys.readouterr().err
