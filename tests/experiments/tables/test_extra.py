"""Rows that are not the paper's: declared, run, recorded and promoted without touching its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import call
from extra_rows import GFL, OWN, QFL_3, declare

from experiments import matrix, profiles
from experiments.queue.worker import ROOT
from experiments.tables import catalogue, extra
from experiments.tables.declare import Row, Table
from gfl.errors import UserError
from gfl.experiment import Experiment
from gfl.records.record import Store

SMOKE = profiles.get("smoke")
RUN_AT_SMOKE = [name for name in OWN if name != "table-4"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_commit: str) -> Store:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Store(tmp_path / "runs", tmp_path / "results")


def papers(names: dict[str, Table], profile: str) -> dict[tuple[str, ...], str]:
    """The runs of the paper's rows by those rows, in order."""
    runs = matrix.plan(names.values(), profiles.get(profile), [0])
    mine = {f"{name}/{row.key}" for name, row in OWN.items()}

    def is_papers(row: str) -> bool:
        return not any(row == name or row.startswith(f"{name}/") for name in mine)

    found = {tuple(filter(is_papers, run.rows)): run.id for run in runs}
    return {rows: id for rows, id in found.items() if rows}


@pytest.mark.parametrize("profile", profiles.PROFILES)
@pytest.mark.parametrize("name", OWN)
def test_the_papers_cells_and_runs_are_the_same_beside_it(
    name: str, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = papers(catalogue.PAPERS, profile)
    cells = list(catalogue.PAPERS[name].cells())
    table = declare(name, monkeypatch)
    assert list(table.cells()) == cells
    alone = dict(catalogue.PAPERS) | {name: table}
    after = papers(alone, profile)
    assert list(after.items()) == list(before.items())
    for run in matrix.plan(alone.values(), profiles.get(profile), [0]):
        assert run.is_extra == (run.id not in before.values())
        # Whatever else shows it, a run of the paper's has the name of the paper's row.
        assert run.rows[0] in {row for rows in before for row in rows} or run.is_extra


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_published_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = declare(name, monkeypatch)
    for cell in table.extra_cells():
        assert cell.published == dict.fromkeys(column.name for column in table.columns)


@pytest.mark.usefixtures("smoke_counts")
@pytest.mark.parametrize("name", RUN_AT_SMOKE)
def test_it_is_run_recorded_and_promoted_as_the_papers_are(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    table = declare(name, monkeypatch)
    own = OWN[name]
    target = f"{name}/{own.key}"
    ids = [run.id for run in matrix.select(target, SMOKE, [0])[1]]
    assert len(ids) == len(table.groups)
    assert call(store, "run", target, "--jobs", "1") == 0
    assert store.local_ids("smoke") == sorted(ids)
    assert call(store, "promote", name) == 0
    assert store.reference_ids("smoke") == sorted(ids)
    capfd.readouterr()
    assert call(store, "status", target) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "not in the paper" in line]
    assert [line.split()[-4:] for line in lines[:-1]] == [["not", "in", "the", "paper"]] * len(ids)
    first = matrix.plan([catalogue.PAPERS[name]], SMOKE, [0])[0]
    assert call(store, "diff", first.id, ids[0]) == 0
    assert call(store, "config", ids[0]) == 0
    assert f"Run {ids[0]}: {target}" in capfd.readouterr().out


def test_a_run_that_the_paper_has_elsewhere_stays_the_papers(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    declare("table-1c", monkeypatch, Row("without QFL", Experiment()))
    shown, (run,) = matrix.select("table-1c/without QFL", SMOKE, [0])
    assert [table.name for table in shown] == ["table-1c"]
    (whole,) = [r for r in matrix.select("all", SMOKE, [0])[1] if r.id == run.id]
    assert whole.rows[-1] == "table-1c/without QFL"
    assert whole.name == "centerness-branch/ATSS, seed 0"
    assert not whole.is_extra
    assert call(store, "status", "table-1c/without QFL", "--json") == 0
    (found,) = json.loads(capfd.readouterr().out)["runs"]
    assert found["in_paper"] is True


def test_status_counts_it_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    for name in catalogue.TABLES:
        monkeypatch.setitem(catalogue.TABLES, name, catalogue.PAPERS[name])
    declare("table-1a", monkeypatch)
    assert call(store, "status", "--json") == 0
    runs = json.loads(capfd.readouterr().out)["runs"]
    assert [run["in_paper"] for run in runs] == [True] * 70 + [False] * 2
    assert call(store, "status") == 0
    assert "smoke profile: 72 runs (2 not in the paper), 72 to train" in capfd.readouterr().out
    assert call(store, "status", "table-1a/joint, β = 3.5/FCOS") == 0
    assert "smoke profile: 1 run not in the paper, 1 to train" in capfd.readouterr().out


def test_it_is_run_where_its_table_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    r50 = Row("GFL", GFL, marks=("R-50", "12", "", "–"), label="GFL R-50 1x", baseline="GFL R-50")
    declare("table-4", monkeypatch, r50)
    assert call(store, "status", "table-4/GFL R-50 1x", profile="coco") == 0
    out = capfd.readouterr().out
    assert "GFL R-50 1x  missing  atss-joint-general-dfl-s0-" in out
    assert "not in the paper  also table-2b/16, table-2c/1, table-3/both" in out
    with pytest.raises(UserError, match="run at --profile smoke, laptop or coco only"):
        matrix.single("table-4/GFL R-50 1x", profiles.get("photos"), [0])


@pytest.mark.parametrize(
    ("name", "row", "why"),
    [
        ("table-1c", Row("2", Experiment(quality="joint", beta=3.5)), "the name of another row"),
        ("table-1a", Row("IoU-branch/ATSS", Experiment(boxes="general")), "the name of another"),
        ("table-1c", Row("two", Experiment(quality="joint")), "has the same settings as row '2'"),
        ("table-1a", Row("mine", Experiment()), "as row 'centerness-branch/FCOS'"),
        ("table-1c", Row(" ", QFL_3), "has no name"),
        ("table-1c", Row("3.5", Experiment(beta=3.5)), "beta=3.5 needs quality='joint'"),
        ("table-1c", Row("3.5", QFL_3, (1.0,) * 3), "has publ"),
        ("table-1c", Row("mine", None), "no experiment"),
        ("table-3", Row("mine", QFL_3), "0 marks, not one for each of QFL, DFL"),
        ("table-1c", Row("3.5", QFL_3, baseline="3"), "the baseline '3', which no other row"),
        ("table-1c", Row("3.5", QFL_3, baseline="3.5"), "the baseline '3.5', which no other row"),
        ("table-1c", Row("R-101", replace(GFL, backbone="r101")), "declared under table-4"),
    ],
)  # fmt: skip
def test_what_cannot_stand_in_a_table_is_refused(name: str, row: Row, why: str) -> None:
    with pytest.raises(
        ValueError, match=f"experiments/tables/extra.py: {name}, row '{row.key}'.*{why}"
    ):
        catalogue.with_extra({name: (row,)})


def test_what_cannot_stand_beside_another_is_refused() -> None:
    for again in (OWN["table-1c"], replace(OWN["table-1c"], label="again")):
        with pytest.raises(ValueError, match=r"experiments/tables/extra\.py: table-1c"):
            catalogue.with_extra({"table-1c": (OWN["table-1c"], again)})


def test_a_row_without_its_comma_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table-1c: a single row needs a comma after it"):
        catalogue.with_extra({"table-1c": OWN["table-1c"]})  # type: ignore[dict-item]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown table 'table-1d'; known: table-1a, "):
        catalogue.with_extra({"table-1d": (OWN["table-1c"],)})


MISTAKES = {
    "unknown table": (
        'ROWS = {"table-1d": (Row("3", Experiment()),)}',
        "experiments/tables/extra.py: unknown table 'table-1d'; known: table-1a, "
        "table-1b, table-1c, table-2a, table-2b and 3 more",
    ),
    "no experiment": (
        'ROWS = {"table-1c": (Row("3", None),)}',
        "experiments/tables/extra.py: table-1c, row '3' has no experiment to run",
    ),
    "unknown value": (
        'ROWS = {\n    "table-1c": (Row("3", Experiment(quality="joit")),)\n}',
        "experiments/tables/extra.py, line 4: unknown quality 'joit'; did you mean 'joint'?",
    ),
    "unknown factor": (
        "ROWS = Experiment(bta=3.0)",
        "experiments/tables/extra.py, line 3: Experiment",
    ),
    "no Python": (
        "ROWS = {",
        "experiments/tables/extra.py, line 3: not Python: '{' was never closed",
    ),
    "nothing": ("", "experiments/tables/extra.py: cannot import name 'ROWS'"),
}


@pytest.mark.parametrize(("rows", "complaint"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("words", [["--help"], ["status"], ["table", "3"]], ids=" ".join)
def test_a_mistake_ends_a_command_in_one_line(
    tmp_path: Path, words: list[str], rows: str, complaint: str
) -> None:
    names = "from experiments.tables.declare import Row\nfrom gfl.experiment import Experiment\n"
    (tmp_path / "extra.py").write_text(names + rows)
    program = (
        "import runpy, sys, experiments.tables\n"
        "experiments.tables.__path__.insert(0, sys.argv.pop())\n"
        "runpy.run_module('cli', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words, str(tmp_path)], capture_output=True, text=True,
        cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gfl: {complaint}")
    assert done.stderr.count("\n") == 1


def test_a_row_of_the_papers_has_a_number() -> None:
    table = catalogue.PAPERS["table-1c"]
    for published in ((), (None, None, None)):
        row = Row("3.5", Experiment(quality="joint", beta=3.5), published)
        with pytest.raises(ValueError, match=r"row '3\.5': no number of it .*extra\.py"):
            replace(table, rows=(*table.rows, row))


def test_a_baseline_may_be_of_ones_own() -> None:
    plain = Row("General to 8", Experiment(boxes="general", y_n=8.0), marks=("", ""))
    dfl = replace(plain, name="DFL to 8", experiment=Experiment(boxes="general", dfl=True, y_n=8.0))
    table = catalogue.with_extra({"table-3": (plain, replace(dfl, baseline="General to 8"))})[
        "table-3"
    ]
    one, other = table.extra_cells()
    assert table.baseline_of(other) == one
    assert table.baseline_of(one) == next(table.cells())


def test_the_example_is_declared_and_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [row for row in extra.ROWS["table-1c"] if row.name == "3"]
    declare("table-1c", monkeypatch, example)
    (run,) = matrix.select("table-1c/3", SMOKE, [0])[1]
    assert run.rows == ("table-1c/3",)
    assert run.is_extra
    assert run.experiment == Experiment(quality="joint", beta=3.0)


@pytest.mark.parametrize("profile", profiles.PROFILES)
def test_no_row_as_declared_is_a_run_that_its_table_has(profile: str) -> None:
    """Also by the ids, which hash what a run is: the declaration goes by the factors."""
    for table in catalogue.with_extra(extra.ROWS).values():
        for run in matrix.plan([table], profiles.get(profile), [0]):
            assert len(run.rows) == 1, run.rows
