"""The files and the terminal's table of a few verdicts made by hand."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from analysis.claims import wording
from analysis.claims.render import files
from analysis.claims.stored import as_json, read
from analysis.claims.terminal import show
from analysis.claims.verdict_on_paper import CheckOnPaper, VerdictOnPaper
from analysis.claims.verdict_on_runs import CheckOnRuns, VerdictOnRuns
from analysis.claims.verdicts import AtProfile, SeedNoise, Verdicts
from analysis.stats.correction import P
from experiments.claims.declare import Claim, Identity, Quote, TextCheck
from experiments.profiles import LAPTOP
from gfl.records.record import RecordError

ABOVE = (0.0, math.inf)


@pytest.fixture
def made() -> Verdicts:
    better = CheckOnRuns(
        "A − B | AP*", ABOVE, 0.8300000001, (0.31, 1.35), P(1e-9, 1.0), (0, 1), ("a-s0", "b-s0")
    )
    lacking = CheckOnRuns("C − D", ABOVE, missing="C is not there: gfl run C")
    exact = CheckOnRuns("the least of it", (-1e-9, 1e-9), 3e-17, how="of the equations alone")
    claims = [
        _claim("clear", "A is <b>better</b> than B"),
        _claim("open", "C is better than D"),
        _claim("exact", "it is so"),
    ]
    tried = {
        "clear": VerdictOnRuns("supported", "A − B is clear", (better,), 2e-9, 2e-9),
        "open": VerdictOnRuns("untested", lacking.missing, (lacking,)),
        "exact": VerdictOnRuns("supported", "true by definition", (exact,)),
    }
    paper = {
        "clear": VerdictOnPaper("holds", "", (CheckOnPaper("A − B | AP*", 1.0, ABOVE, "holds"),)),
        "open": VerdictOnPaper("not decidable", "no number of it is printed", ()),
        "exact": VerdictOnPaper("holds", "", ()),
    }
    noise = {"AP": SeedNoise(0.6, 20, 10, 0.4)}
    at = AtProfile(LAPTOP, {"a-s0": "ab12"}, noise, tried, noise_of_all=noise)
    one, other = Quote("It is 1.", "Table 1"), Quote("It is 2.", "Section 4")
    text = TextCheck("one-or-two", one, other, "disagree", "1 is not 2")
    return Verdicts("reference", tuple(claims), (text,), paper, {"laptop": at})


def _claim(id: str, says: str) -> Claim:
    check = Identity("the least of it", "qfl-lower-elsewhere", (-1e-9, 1e-9))
    return Claim(id, (Quote("It *is* so.", "Section 4"),), says, "it is not", (check,))


def test_the_json_is_the_schema_that_the_report_reads(made: Verdicts) -> None:
    content = json.loads(files(made)["claims.json"])
    assert content["schema"] == 1
    assert content["profiles"]["laptop"]["records"] == {"a-s0": "ab12"}
    assert content["profiles"]["laptop"]["tested"] == 1
    clear, open_, exact = content["claims"]
    assert clear["printed"]["checks"][0] == {
        "label": "A − B | AP*", "value": 1.0, "low": 0.0, "high": None, "state": "holds",
    }  # fmt: skip
    ours = clear["ours"]["laptop"]
    assert (ours["verdict"], ours["p"], ours["p_corrected"]) == ("supported", 0.0, 0.0)
    (check,) = ours["checks"]
    found = [claim["ours"]["laptop"]["deciding"] for claim in content["claims"]]
    assert found == [0, None, 0]  # what is untested has none
    assert (check["value"], check["low"], check["high"]) == (0.83, 0.31, 1.35)
    assert check["bounds"] == [0.0, None]
    assert (check["seeds"], check["runs"]) == ([0, 1], ["a-s0", "b-s0"])
    assert open_["ours"]["laptop"]["checks"][0]["value"] is None
    assert exact["ours"]["laptop"]["checks"][0]["p_holds"] is None
    assert content["text_checks"][0]["finding"] == "disagree"


def test_the_json_is_read_back_as_the_objects_it_was_written_of(
    made: Verdicts, tmp_path: Path
) -> None:
    path = tmp_path / "claims.json"
    path.write_text(as_json(made))
    found = read(path)
    assert as_json(found) == as_json(made)
    assert found.profiles["laptop"].tested == 1
    clear, exact = (found.profiles["laptop"].on_runs[id] for id in ("clear", "exact"))
    assert clear.checks[0].bounds == ABOVE
    assert clear.deciding == clear.checks[0]
    assert exact.is_of_equations
    assert not clear.is_of_equations


def test_the_committed_json_is_read_back_to_the_byte() -> None:
    path = Path(__file__).parents[3] / "results" / "claims.json"
    assert as_json(read(path)) == path.read_text(encoding="utf-8")


def test_of_equal_p_values_the_check_that_was_said_to_decide_decides() -> None:
    one, other = (CheckOnRuns(name, ABOVE, -1.0, p=P(1.0, 0.0)) for name in "ab")
    assert VerdictOnRuns("refuted", "", (one, other)).deciding == one
    assert VerdictOnRuns("refuted", "", (one, other), decided_by=1).deciding == other


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2}', '{"schema": 1, "claims": [{}]}'])
def test_what_is_not_such_a_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    path.write_text(text)
    with pytest.raises(RecordError):
        read(path)


def test_the_last_digits_of_a_machine_do_not_show(made: Verdicts) -> None:
    """Another machine's numbers differ by an ulp or by a few: the files do not."""
    found = made.profiles["laptop"].on_runs["clear"]
    other = replace(found.checks[0], value=0.8300000002, p=P(3e-9, 1.0), interval=(0.31, 1.3500001))
    tried = {**made.profiles["laptop"].on_runs, "clear": replace(found, checks=(other,), p=3e-9)}
    at = replace(made.profiles["laptop"], on_runs=tried)
    assert files(replace(made, profiles={"laptop": at})) == files(made)


def test_this_machines_verdicts_have_a_name_that_git_ignores(made: Verdicts) -> None:
    assert set(files(made)) == {"claims.md", "claims.json"}
    local = files(replace(made, source="local"))
    assert set(local) == {"claims.local.md", "claims.local.json"}


def test_the_document_has_every_claim_with_both_verdicts(made: Verdicts) -> None:
    text = files(made)["claims.md"]
    assert "By the paper's own numbers: 2 hold, 0 hold in part" in text
    assert "By the runs of the laptop profile: 2 supported, 0 refuted" in text
    assert "> It *is* so. — *Section 4*" in text
    row = "above 0 | +1.00, holds | +0.83 [+0.31, +1.35] | < 0.0001 | 1.0000 | 0 1 |"
    assert f"| A − B \\| AP\\* | {row}" in text
    assert "exact | exact" in text
    assert "gfl run C" in text
    assert "### one-or-two: disagree" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


def test_the_terminal_has_a_row_for_every_claim(made: Verdicts) -> None:
    out = io.StringIO()
    show(made, Console(file=out, width=120))
    lines = out.getvalue().splitlines()
    (row,) = [line for line in lines if line.startswith("clear")]
    assert " ".join(row.split()) == "clear holds supported +0.83 [+0.31, +1.35] < 0.0001"
    assert any(line.startswith("3 claims.") for line in lines)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0.0, math.inf), "above 0"),
        ((-math.inf, 0.4), "below 0.4"),
        ((-0.5, 0.5), "-0.5 to 0.5"),
        ((-1e-9, 1e-9), "0"),
        ((-math.inf, math.inf), "any"),
    ],
)
def test_bounds_in_words(pair: tuple[float, float], text: str) -> None:
    assert wording.bounds(pair) == text


def test_a_number_has_its_sign_and_nothing_has_none() -> None:
    assert wording.number(0.834) == "+0.83"
    assert wording.number(-0.001) == "0.00"
    assert wording.number(None) == "—"
    assert wording.p_value(0.0123456) == "0.0123"
    assert wording.p_value(0.0) == "< 0.0001"


def test_a_count_agrees_with_its_verdict() -> None:
    found = wording.counts(["holds", "not decidable", "not decidable"], wording.PRINTED)
    assert found == "1 holds, 0 hold in part, 0 do not hold, 2 are not decidable"
    assert wording.counts(["refuted"], ("supported", "refuted")) == "0 supported, 1 refuted"
