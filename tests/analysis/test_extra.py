"""A recorded row that is not the paper's: shown and compared, and in nothing of the paper's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import reported
from extra_rows import OWN, declare
from recorded import of
from reported import LAPTOP

from analysis.audit import artefacts, strict
from analysis.claims import verdict_on_paper
from analysis.claims.render import files
from analysis.claims.stored import as_json
from analysis.claims.verdicts import judge
from analysis.errors.runs import row_name
from analysis.figures import FIGURES
from analysis.library import Library
from analysis.measures import evidence
from analysis.report import html
from analysis.report.table_views import views
from analysis.tables import agreement, dataframes, ranking, render, terminal
from analysis.tables import fill as filling
from analysis.tables.layout import TableLayout, lay_out
from analysis.tables.notes import NOT_PAPERS
from cli import spread
from cli.main import main
from experiments import profiles
from experiments.claims import CLAIMS
from experiments.claims.declare import At
from experiments.matrix import plan
from experiments.tables import catalogue
from experiments.tables.declare import Table
from gfl.experiment import Profile
from gfl.records.record import METRICS, Store

SMOKE = profiles.get("smoke")
SEEDS = (0, 1)
TOP = 90.0  # the AP of rows that are not the paper's: it would be the best of every table


def profile_of(name: str) -> Profile:
    return profiles.get("coco" if name == "table-4" else "smoke")


def refer(store: Store, profile: Profile, of_extra: bool) -> None:
    """Record the runs of the paper's rows at two seeds, or those of the others."""
    for i, run in enumerate(plan(catalogue.TABLES.values(), profile, SEEDS)):
        if run.is_extra == of_extra:
            ap = TOP + run.seed if of_extra else 30.0 + i / 7 + run.seed
            metrics = {name: ap + j / 10 for j, name in enumerate(METRICS)}
            record = of(run, metrics=metrics, fps=10.0 + i, hardware={"cpu": "a processor"})
            record.save(store.reference_path(profile.name, run.id))


def store_in(folder: Path) -> Store:
    for profile in ("smoke", "coco"):
        (folder / "results/runs" / profile).mkdir(parents=True)
    return Store(folder / "runs", folder / "results", mend=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Where nothing but the paper's rows is declared; what a test declares is undone after it."""
    for name in catalogue.TABLES:
        monkeypatch.setitem(catalogue.TABLES, name, catalogue.PAPERS[name])
    return store_in(tmp_path)


def papers(profile: Profile, store: Store) -> dict[str, Any]:
    """All that is made of the paper's rows and of the records of their runs."""
    library = Library(store)
    found = evidence.gather(library, profile)
    made = {name: shown(table, profile, store) for name, table in catalogue.TABLES.items()}
    return {
        "published.csv": artefacts.published_csv(),
        "cells": [cell for table in catalogue.TABLES.values() for cell in table.cells()],
        "records": [record.id for record in library.records(profile)],
        "evidence": {e.slug: sorted(runs) for e, runs in found.records.items()},
        "noise": found.noise,
        "spread over seeds": spread.over_seeds(found.records),
        "by the paper's numbers": {claim.id: verdict_on_paper.verdict(claim) for claim in CLAIMS},
        "verdicts": files(judge(store)),
        "figures": {name: FIGURES[name].drawn(library, profile).csv for name in ("5a", "7")},
        "orders": {n: [x for x in s.notes if x.startswith("Rows by AP")] for n, s in made.items()},
        "lines": {n: [x for x in lines(s) if not is_own(n, x[0])] for n, s in made.items()},
        "commands": [
            v.command for v in views([*catalogue.TABLES.values()], profile, store, False)[0]
        ],
    }  # fmt: skip


def is_own(name: str, row: str) -> bool:
    """Whether a row's name as shown is that of the table's row that is not the paper's."""
    return row.startswith(OWN[name].name) and row.endswith(NOT_PAPERS)


def shown(table: Table, profile: Profile, store: Store) -> TableLayout:
    return lay_out(table, profile, filling.fill_all(table, profile, store), with_local=False)


def lines(made: TableLayout) -> list[tuple[str, ...]]:
    """Every line, by its row's name in place of an empty one, without the column of differences."""
    found, name = [], ""
    for block in made.blocks:
        for line in block.lines:
            name = line.cells[0] or name
            cells = dict(zip(made.header, line.cells, strict=True))
            values = [value for column, value in cells.items() if column != "ΔAP"]
            found.append((name, line.source, *values[1:]))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Profile], dict[str, Any]]:
    """``papers`` where no other row is declared or recorded, made once a profile."""

    @cache
    def made(profile: Profile) -> dict[str, Any]:
        assert catalogue.PAPERS.items() == catalogue.TABLES.items()
        store = store_in(tmp_path_factory.mktemp("alone"))
        refer(store, profile, of_extra=False)
        return papers(profile, store)

    return made


@pytest.mark.parametrize("name", OWN)
def test_nothing_of_the_papers_changes_because_it_is_there(
    name: str,
    store: Store,
    alone: Callable[[Profile], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = profile_of(name)
    before = alone(profile)
    refer(store, profile, of_extra=False)
    table = declare(name, monkeypatch)
    refer(store, profile, of_extra=True)
    after = papers(profile, store)
    for what, found in before.items():
        assert after[what] == found, what
    ours = [line for line in lines(shown(table, profile, store)) if is_own(name, line[0])]
    assert [line[1] for line in ours] == ["reference"] * len(table.groups)


@pytest.mark.parametrize("name", [name for name in OWN if name != "table-4"])
def test_a_row_that_is_only_declared_changes_no_committed_table(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the strict audit name its line, nor the report show it."""
    refer(store, SMOKE, of_extra=False)
    folders = ["--runs", str(store.runs), "--results", str(store.results), "--profile", "smoke"]
    assert main(["table", name, *folders]) == 0
    before = views([catalogue.TABLES[name]], SMOKE, store, False)
    declare(name, monkeypatch)
    assert name not in {finding.file.stem for finding in artefacts.tables(SMOKE, store)}
    assert views([catalogue.TABLES[name]], SMOKE, store, False) == before


@pytest.mark.parametrize("name", [name for name in OWN if name != "table-4"])
def test_it_is_shown_below_the_papers_rows_and_marked(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # as wide as its notes
    refer(store, SMOKE, of_extra=False)
    table = declare(name, monkeypatch)
    folders = ["--runs", str(store.runs), "--results", str(store.results), "--profile", "smoke"]
    for state in ("declared", "recorded"):
        if state == "recorded":
            refer(store, SMOKE, of_extra=True)
        assert main(["table", name, *folders]) == 0
        text = (store.results / f"tables/smoke/{name}.md").read_text()
        rows = [
            x for x in text.splitlines() if x[:2] == "| " and is_own(name, x.split(" | ")[0][2:])
        ]
        if state == "declared":  # a declaration alone changes no committed file
            assert (rows, NOT_PAPERS in text) == ([], False)
            assert f"and so not shown: {OWN[name].key}." in capsys.readouterr().out
            continue
        assert len(rows) == len(table.groups)
        for row in rows:
            assert "| paper |" not in row
            assert "n/a" not in row
            assert "| 90.5" in row  # the mean of 90 and 91
        for block in text.split("\n## ")[-len(table.groups) :]:
            body = [line for line in block.splitlines() if line.startswith("| ")]
            assert body[-1] in rows
        assert f"\n- {NOT_PAPERS} not in the paper: declared in experiments/tables/extra.py" in text
        out = capsys.readouterr().out
        assert re.search(rf"^{re.escape(OWN[name].name)}.?{NOT_PAPERS} ", out, re.MULTILINE)
        assert f"{NOT_PAPERS} not in the paper" in out
        assert name not in {finding.file.stem for finding in artefacts.tables(SMOKE, store)}


@pytest.mark.parametrize("name", OWN)
def test_it_has_no_published_number_in_any_form(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_of(name)
    table = declare(name, monkeypatch)
    for of_extra in (False, True):
        refer(store, profile, of_extra)
    filled = filling.fill_all(table, profile, store)
    rows = list(csv.DictReader(io.StringIO(render.tidy_csv(table, filled, False))))
    mine = [row for row in rows if row["row"] == OWN[name].key]
    assert {row["source"] for row in mine} == {"reference"}
    assert {row["value"] for row in mine if row["column"] == "AP"} == {"90.5000"}
    frame: Any = dataframes.compared(table, filled)
    at = frame.index.get_level_values(-1) == OWN[name].key
    assert frame[dataframes.PAPER][at].isna().to_numpy().all()
    assert set(frame[dataframes.READING][at]) <= {
        "no published gap, clear",
        "no published gap, interval has 0",
    }
    (view,), _ = views([table], profile, store, local=False)
    for block in view.blocks:
        row = block.rows[-1]
        assert row.name == OWN[name].name
        assert row.is_extra
        assert not any(other.is_extra for other in block.rows[:-1])
        for number in row.numbers:
            assert (number.paper, number.paper_value, number.paper_delta) == ("", None, "")
            assert number.gap is None
            assert number.ours_value is not None
        ap = next(number for number in row.numbers if number.name == "AP")
        assert ap.ours_delta.startswith("+")


def test_where_its_table_is_not_run_it_is_named_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = declare("table-4", monkeypatch)
    photos = profiles.get("photos")
    made = shown(table, photos, store)
    assert lines(made) == lines(shown(catalogue.PAPERS["table-4"], photos, store))
    (note,) = [note for note in made.notes if "can be run" in note]
    assert note.startswith(
        "Its rows and 1 not in the paper (GFL R-101 1x) can be run, at the smoke"
    )
    assert NOT_PAPERS not in [mark for mark, _ in made.footnotes]
    (view,), _ = views([table], photos, store, local=False)
    assert len(view.blocks[0].rows) == 36


def test_errors_mark_it(monkeypatch: pytest.MonkeyPatch) -> None:
    table = declare("table-1c", monkeypatch)
    (cell,) = table.extra_cells()
    assert row_name(table, cell) == "1c β (QFL) 3.5†"


def test_the_report_shows_it_and_is_held_against_the_papers_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claims, made before the row was, are still those of the records that they try."""
    store = Store(tmp_path / "runs", tmp_path / "results")
    for name in catalogue.TABLES:
        monkeypatch.setitem(catalogue.TABLES, name, catalogue.PAPERS[name])
    ids = reported.fill(store)
    (store.results / "claims.json").write_text(as_json(reported.claims(store, ids)))
    text = html(LAPTOP, store, local=False)
    assert "not in the paper" not in text
    declare("table-3", monkeypatch)
    refer(store, LAPTOP, of_extra=True)
    beside = html(LAPTOP, store, local=False)
    for page in (text, beside):
        assert "held against 7 training runs on embedded data" in page
        assert page.count("baseline</span>") == text.count("baseline</span>")
    assert "7, seeds 0, 1</dd>" in text
    assert "7, seeds 0, 1; 2 of rows not in the paper</dd>" in beside
    assert 'QFL, β = 3.5† <span class="small">not in the paper</span></th>' in beside
    assert "Table 3, QFL, β = 3.5 (not in the paper)</b>: against none" in beside


def test_agreement_of_the_papers_runs_is_theirs_alone(
    fill: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    aps = {"none": (30.0, 31.0, 32.0), "QFL": (31.0, 32.0, 33.5)}
    local = {"none": (30.5, 31.0), "QFL": (31.5, 32.5)}
    table = catalogue.PAPERS["table-3"]
    before = agreement.lines(fill(table, aps, local))
    other = filling.Filled(next(declare("table-3", monkeypatch).extra_cells()), {}, {}, ())
    one, (none, *_) = fill(table, aps, local)[1], fill(table, aps, local)
    beside = replace(other, reference=one.reference, local=none.local)
    assert agreement.lines([*fill(table, aps, local), other]) == before
    told = agreement.lines([*fill(table, aps, local), beside])
    assert told[: len(before)] == before
    assert told[len(before)] == "Rows not in the paper:"
    assert any(line.startswith("  QFL, β = 3.5, seed 0: ") for line in told[len(before) :])
    alone = agreement.lines([*fill(table, aps), beside])
    assert alone[0] == "Rows not in the paper:"


def test_a_number_that_the_paper_lacks_is_no_0(fill: Callable) -> None:
    """A row of the paper's that is printed without its AP: no order, no gap, no wrong legend."""
    table = catalogue.PAPERS["table-3"]
    rows = [
        replace(r, published=(19.4, None, 58.5, 43.0)) if r.key == "QFL" else r for r in table.rows
    ]
    table = replace(table, rows=tuple(rows))
    aps = {"none": (30.0, 31.0), "QFL": (99.0, 98.0), "DFL": (31.0, 32.0), "both": (33.0, 34.0)}
    filled = fill(table, aps)
    assert ranking.published(filled) == "both > DFL > none"
    found = ranking.order([(cell, cell.reference) for cell in filled])
    assert found is not None
    assert found.ranking == "both > DFL > none"
    assert (found.rows, found.of, len(found.pairs)) == (3, 3, 3)
    made = lay_out(table, SMOKE, filled, with_local=False)
    assert ("n/a", "no number is published") in made.footnotes
    frame: Any = dataframes.compared(table, filled)
    assert frame[dataframes.READING]["QFL"].startswith("no published gap, ")
    text = render.tidy_csv(table, filled, False)
    assert "table-3,,QFL,AP,paper,,,,,,\n" in text
    assert "QFL,ΔAP,paper" not in text


def test_a_statement_of_a_number_that_is_not_printed_fails() -> None:
    at = At("table-4", "CentripetalNet HG-104", "FPS")
    assert at.published is None
    with pytest.raises(ValueError, match="table-4, CentripetalNet HG-104: no FPS is published"):
        _ = at.number
    with pytest.raises(KeyError):  # claims are of the paper's rows
        _ = At("table-1c", "3").published


def test_lines_of_rows_stand_apart_on_the_terminal(
    fill: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = declare("table-1c", monkeypatch)
    papers = fill(table, {"2": (30.0,)})
    (records,) = (cell.reference for cell in papers if cell.reference)
    filled = [*papers, filling.Filled(next(table.extra_cells()), records, {}, ())]
    for with_local in (False, True):
        made = lay_out(table, SMOKE, filled, with_local)
        (grid,) = terminal.pages(made, made.blocks[0], 200)
        names = [str(cell) for cell in grid.columns[0].cells]
        size = 2 + with_local
        expected = ["0", "1", "2", "2.5", "4"]
        blocks = [["", name, *[""] * (size - 1)] for name in expected]
        assert names == [*chain(*blocks), "", "3.5†", *[""] * with_local]
        dim = [row.style for row in grid.rows]
        assert dim.count("dim") == len(expected)
        assert dim[-1] is None


def test_a_profile_with_nothing_but_others_rows_is_not_tried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare("table-1c", monkeypatch)
    refer(store, SMOKE, of_extra=True)
    assert judge(store).profiles == {}
    assert strict.recorded(store) == [SMOKE]  # which has a table to hold to its records
