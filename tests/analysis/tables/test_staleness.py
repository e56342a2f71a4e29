"""What a printed table says of runs of other code, and that what is committed says none of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import of

from analysis.tables import staleness
from analysis.tables.fill import Filled, Records
from cli.main import main
from experiments import checkout
from experiments.matrix import plan
from experiments.profiles import get
from experiments.tables import catalogue as declared
from gfl.records import digests
from gfl.records.record import Store

TABLE3 = declared.find("table-3")
SMOKE = get("smoke")
HERE = {"gfl/a.py": "1", "gfl/b.py": "1"}
OTHER = {"gfl/a.py": "2", "gfl/b.py": "1"}
Mapped = Callable[[Records], Records]


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "code", lambda: HERE)
    monkeypatch.setattr(digests, "versions", lambda: {"torch": "2.11.0"})


def made_by(code: dict[str, str], **changes) -> Mapped:
    return lambda records: {s: replace(r, code=code, **changes) for s, r in records.items()}


def both(filled: list[Filled], reference: Mapped, local: Mapped) -> list[Filled]:
    return [replace(f, reference=reference(f.reference), local=local(f.local)) for f in filled]


APS = {"none": [1.0, 2.0], "QFL": [1.0]}


def test_runs_of_todays_code_are_nothing_to_speak_of(fill: Callable) -> None:
    filled = both(fill(TABLE3, APS, APS), made_by(HERE), made_by(HERE))
    assert staleness.lines(filled, with_local=True) == []


def test_the_runs_and_what_has_changed_are_named(fill: Callable) -> None:
    filled = both(fill(TABLE3, APS, APS), made_by(OTHER), made_by(OTHER))
    reference, ours = staleness.lines(filled, with_local=True)
    assert reference == "Reference, all 3 runs: trained by c0ffeec; gfl/a.py has changed since."
    assert ours == (
        "Local, none, seed 0; none, seed 1; QFL, seed 0: trained by c0ffeec; gfl/a.py has changed "
        "since; --again (make: AGAIN=1) trains them anew."
    )
    assert staleness.lines(filled, with_local=False) == [reference]

    older = made_by(HERE, versions={"torch": "2.10.0"})
    filled = both(fill(TABLE3, APS), made_by(HERE), made_by(HERE))
    filled[1] = replace(filled[1], reference=older(filled[1].reference))
    assert staleness.lines(filled, with_local=False) == [
        "Reference, QFL, seed 0: trained by c0ffeec with torch 2.10.0 (here 2.11.0)."
    ]


def test_a_file_that_was_just_edited_is_named_before_all_others(
    fill: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be hidden behind the first few of the many that have changed since a commit."""
    names = [f"gfl/{letter}.py" for letter in "abcdefghij"]
    monkeypatch.setattr(digests, "code", lambda: dict.fromkeys(names, "2"))
    monkeypatch.setattr(checkout, "uncommitted", lambda: frozenset({"gfl/j.py", "docs/x.md"}))
    then = made_by(dict.fromkeys(names, "1"))
    filled = both(fill(TABLE3, {"QFL": [1.0]}, {"QFL": [1.0]}), then, then)
    for line in staleness.lines(filled, with_local=True):
        assert "; gfl/j.py (not committed), gfl/a.py, gfl/b.py, " in line
        assert " more have changed since" in line


def test_what_is_not_known_is_said_to_be_unknown(
    fill: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "code_at", lambda commit: None)
    assert staleness.lines(fill(TABLE3, {"QFL": [1.0]}), with_local=False) == [
        "Reference, 1 run: whether gfl/ has changed since is unknown "
        "(that commit is not in this repository)."
    ]


def test_what_is_committed_does_not_depend_on_the_code_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    store = Store(tmp_path / "runs", tmp_path / "results")
    (run,) = (r for r in plan([TABLE3], SMOKE, [0]) if r.rows == ("table-3/QFL",))
    trained = of(run, commit="c0ffee" * 6, versions={"torch": "2.11.0"}, code=HERE)
    trained.save(store.reference_path("smoke", run.id))
    trained.save(store.run_dir("smoke", run.id) / "record.json")
    folders = ["--runs", str(store.runs), "--results", str(store.results), "--profile", "smoke"]
    folder = store.results / "tables/smoke"
    kept = []
    for code in (HERE, OTHER):
        monkeypatch.setattr(digests, "code", lambda code=code: code)
        assert main(["table", "table-3", *folders]) == 0
        kept.append([(folder / f"table-3.{kind}").read_bytes() for kind in ("md", "csv")])
    assert kept[0] == kept[1]
    assert "Reference, 1 run: trained by c0ffeec; gfl/a.py has changed" in capsys.readouterr().out

    assert main(["table", "table-3", "--store", "local", *folders]) == 0
    ours = "Local, QFL, seed 0: trained by c0ffeec; gfl/a.py has changed since"
    assert ours in (folder / "table-3.local.md").read_text()
    assert ours in capsys.readouterr().out
