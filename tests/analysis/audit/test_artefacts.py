"""A digit altered in what is made of records, or in a published number, is found and named."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.audit import artefacts, command, strict
from analysis.audit.findings import Finding
from analysis.claims import render, terminal, verdicts
from analysis.figures import FIGURES
from analysis.pool import quiet
from analysis.tables import tuning
from cli.main import main
from experiments import profiles
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from experiments.tables.declare import Table
from gfl.records.record import Store

SMOKE, LAPTOP = profiles.get("smoke"), profiles.get("laptop")
Alter = Callable[..., None]


def places(found: Iterator[Finding]) -> list[tuple[str, ...]]:
    return [(f.file.name, f.place, f.committed, f.expected) for f in found]


@pytest.mark.parametrize(
    ("name", "old", "new", "place"),
    [
        ("table-3.md", "57.4", "57.5", "row 'none', paper, column AP50"),
        ("table-3.md", "one seed", "two seed", "line 16"),
        (
            "table-3.csv",
            "QFL,AP,paper,39.9",
            "QFL,AP,paper,39.8",
            "line 11 (table-3, QFL, AP, paper), column value",
        ),
    ],
)
def test_a_digit_of_a_table_is_found(
    store: Store, alter: Alter, name: str, old: str, new: str, place: str
) -> None:
    alter(store.results / "tables/smoke" / name, old, new)
    (found,) = places(artefacts.tables(SMOKE, store))
    assert found[:2] == (name, place)


def test_a_table_that_is_missing_and_one_that_nothing_makes_are_found(store: Store) -> None:
    folder = store.results / "tables/smoke"
    (folder / "table-3.md").rename(folder / "table-5.md")
    (folder / "table-3.local.md").write_text("not committed")
    assert places(artefacts.tables(SMOKE, store)) == [
        ("table-5.md", "the file", "is there", "nothing makes it"),
        ("table-3.md", "the file", "nothing", "a file"),
    ]


def test_tables_whose_records_are_gone_are_found(store: Store) -> None:
    shutil.rmtree(store.results / "runs")
    assert strict.recorded(store) == [SMOKE]
    told: list[str] = []
    found = {(f.file.name, f.expected) for f in strict.of_profile(SMOKE, store, told.append)}
    assert found >= {("table-3.md", "nothing makes it"), ("table-3.csv", "nothing makes it")}
    assert len([what for what, _ in found if what.startswith("atss-")]) == 4  # the detections


def changed(table: Table, row: str, old: float, new: float) -> Table:
    """A declaration with another number."""
    numbers = {r.key: tuple(new if x == old else x for x in r.published) for r in table.rows}
    assert numbers[row] != next(r.published for r in table.rows if r.key == row)
    rows = (replace(r, published=numbers[r.key]) if r.key == row else r for r in table.rows)
    return replace(table, rows=tuple(rows))


def test_a_published_number_is_found_in_the_tables_that_print_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.results / "published.csv").write_text(artefacts.published_csv())
    assert places(artefacts.published(store)) == []
    altered = changed(catalogue.find("table-3"), "QFL", 58.5, 58.6)
    monkeypatch.setitem(catalogue.TABLES, "table-3", altered)
    assert places(artefacts.tables(SMOKE, store)) == [
        ("table-3.md", "row 'QFL', paper, column AP50", "58.5", "58.6"),
        ("table-3.csv", "line 12 (table-3, QFL, AP50, paper), column value", "58.5", "58.6"),
    ]
    assert places(artefacts.published(store)) == [
        ("published.csv", "line 8 (table-3, QFL, AP50), column value", "58.5", "58.6")
    ]
    found = [*artefacts.tables(SMOKE, store), *artefacts.published(store)]
    assert all("committed 58.5, by experiments/tables/table3.py 58.6" in f.text for f in found)


def test_what_else_the_paper_s_numbers_give_is_of_their_declaration_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = changed(catalogue.find("table-3"), "QFL", 39.9, 40.9)  # now the first row by AP
    monkeypatch.setitem(catalogue.TABLES, "table-3", altered)
    sources = {f.place: f.by for f in artefacts.tables(SMOKE, store)}
    assert sources["row 'QFL', paper, column ΔAP"] == "experiments/tables/table3.py"
    assert set(sources.values()) == {
        "experiments/tables/table3.py", "the records and experiments/tables/table3.py",
    }  # fmt: skip
    (missing,) = artefacts.published(store)
    assert missing.by == "experiments/tables/catalogue.py"


def test_a_published_number_without_a_run_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Table 4's last row, which only ``published.csv`` and its own table print."""
    (store.results / "published.csv").write_text(artefacts.published_csv())
    table = catalogue.find("table-4")
    last = table.rows[-1]
    altered = changed(table, last.key, last.published[1] or 0.0, 0.1)
    monkeypatch.setitem(catalogue.TABLES, "table-4", altered)
    found = places(artefacts.tables(SMOKE, store))
    assert {name for name, *_ in found} == {"table-4.md", "table-4.csv"}
    assert {expected for *_, expected in found if expected.startswith("0.")} == {"0.1"}
    ((_, place, _, expected),) = places(artefacts.published(store))
    assert table.columns[1].name in place
    assert expected == "0.1"


def test_a_digit_of_a_figures_numbers_is_found(
    store: Store, alter: Alter, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: FIGURES[name] for name in ("5b", "2a")}
    monkeypatch.setattr("analysis.figures.FIGURES", few)
    folder = store.results / "figures/smoke"
    assert places(artefacts.figures(SMOKE, store)) == []  # no figures are committed
    folder.mkdir(parents=True)
    assert places(artefacts.figures(SMOKE, store)) == [
        ("fig5b.csv", "the file", "nothing", "a file")
    ]
    path = folder / "fig5b.csv"
    shutil.copy(ROOT / "results/figures/laptop/fig5b.csv", path)
    assert places(artefacts.figures(SMOKE, store)) == []
    line = path.read_text().splitlines()[9]
    words = line.split(",")
    alter(path, line, ",".join([words[0], f"{float(words[1]) + 1:g}", *words[2:]]))
    (folder / "fig2a.csv").write_text("a,b\n1,2\n")
    (folder / "fig10.pdf").write_text("")
    strange, figure_2a, figure_5b = sorted(places(artefacts.figures(SMOKE, store)))
    assert strange[:2] == ("fig10.pdf", "the file")
    assert "gfl run " in figure_2a[3]
    assert figure_5b[1] == f"line 10 ({words[0]}), column x_strides"


def test_a_digit_of_the_errors_is_found(store: Store, alter: Alter) -> None:
    assert places(artefacts.errors(SMOKE, store)) == []
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    assert main(["errors", "--profile", "smoke", *folders]) == 0
    assert places(artefacts.errors(SMOKE, store)) == []
    path = store.results / "errors/smoke.csv"
    line = next(x for x in path.read_text().splitlines() if "missed" in x)
    alter(path, line, line.replace("missed", "misled"))
    ((name, place, *_),) = places(artefacts.errors(SMOKE, store))
    assert name == "smoke.csv"
    assert place.endswith("column kind")
    for folder in (store.results / "predictions/smoke").iterdir():
        shutil.rmtree(folder)
    assert places(artefacts.errors(SMOKE, store))[0][1] == "the file"


def test_a_digit_of_a_sweep_is_found(tmp_path: Path, alter: Alter) -> None:
    """The committed sweeps, of the committed records."""
    for part in ("tuning", "runs"):
        shutil.copytree(ROOT / "results" / part, tmp_path / "results" / part)
    store = Store(tmp_path / "runs", tmp_path / "results", mend=False)
    assert places(artefacts.tuning(LAPTOP, store)) == []
    alter(store.results / "tuning/laptop.csv", "70.22592", "70.22593")
    ((_, place, *_),) = places(artefacts.tuning(LAPTOP, store))
    assert place.startswith("line 2 (lr 0.001, ")
    assert place.endswith("), column AP")


def test_promotion_rewrites_what_a_sweep_says_of_the_runs(tmp_path: Path, alter: Alter) -> None:
    """Its page names the first of them; local runs are not of the reference."""
    for part in ("tuning", "runs"):
        shutil.copytree(ROOT / "results" / part, tmp_path / "results" / part)
    store = Store(tmp_path / "runs", tmp_path / "results", mend=False)
    page = store.results / "tuning/laptop-fsaf.md"
    whole = page.read_text("utf-8")
    assert tuning.refresh(LAPTOP, store) == []
    alter(page, "The first recorded run of the method was started at", "No run was started at")
    assert tuning.refresh(LAPTOP, store) == [page]
    assert page.read_text("utf-8") == whole


@pytest.fixture
def claimed(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """With the files of claims that a trial would give."""
    texts = {
        "claims.md": "| claim | paper |\n| :-- | :-- |\n| joint-beats-all | holds |\n",
        "claims.json": '{"claims": [{"id": "joint-beats-all", "ours": {"p": 0.012}}]}\n',
    }
    made = SimpleNamespace(profiles={})  # none of which has a registration to speak of
    monkeypatch.setattr(verdicts, "judge", lambda store, source="reference", report=quiet: made)
    monkeypatch.setattr(render, "files", lambda trial: texts)
    monkeypatch.setattr(terminal, "show", lambda trial: print("the claims"))
    return store


def test_a_digit_of_the_claims_is_found(claimed: Store, alter: Alter) -> None:
    assert command.audit(claimed, "reference") == 0
    assert places(artefacts.claims(claimed, quiet)) == []
    alter(claimed.results / "claims.json", "0.012", "0.011")
    alter(claimed.results / "claims.md", "holds", "does not hold")
    assert sorted(places(artefacts.claims(claimed, quiet))) == [
        ("claims.json", "claims joint-beats-all, ours, p", "0.011", "0.012"),
        ("claims.md", "row 'joint-beats-all', column paper", "does not hold", "holds"),
    ]
    assert {f.by for f in artefacts.claims(claimed, quiet)} == {
        "the records", "the records and experiments",
    }  # fmt: skip


def test_the_command_says_it_and_its_exit_code_too(claimed: Store, alter: Alter, capsys) -> None:
    folders = ["--runs", str(claimed.runs), "--results", str(claimed.results)]
    assert main(["audit", *folders]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the claims\nwritten: ")
    assert {path.name for path in claimed.results.iterdir() if path.is_file()} == {
        "claims.json", "claims.md", "published.csv",
    }  # fmt: skip
    assert main(["audit", "--strict", *folders]) == 0
    captured = capsys.readouterr()
    assert captured.out == "What is committed is what the records give: nothing differs.\n"
    assert "smoke: the records' checksums" in captured.err
    path = claimed.results / "tables/smoke/table-3.md"
    alter(path, "39.9", "39.7")
    before = path.read_bytes()
    assert main(["audit", "--strict", *folders]) == 1
    assert capsys.readouterr().out == (
        f"{path}: row 'QFL', paper, column AP: committed 39.7, "
        "by experiments/tables/table3.py 39.9\n"
        "1 place differs from what the records give, in 1 file.\n"
    )
    assert path.read_bytes() == before
    assert main(["audit", "--strict", "--store", "local", *folders]) == 2
    assert "it takes no --store local" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["", "runs"])
def test_without_any_record_there_is_nothing_to_hold_to(store: Store, gone: str, capsys) -> None:
    shutil.rmtree(store.results / gone)
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    assert main(["audit", "--strict", *folders]) == 2
    captured = capsys.readouterr()
    runs = store.results / "runs"
    assert captured.err == f"gfl: {runs} holds no records: nothing to hold the results to\n"
    assert captured.out == ""


def test_a_profile_only_has_to_be_known(claimed: Store, capsys) -> None:
    folders = ["--runs", str(claimed.runs), "--results", str(claimed.results)]
    assert main(["audit", "--profile", "lapto", *folders]) == 2
    told = capsys.readouterr().err
    assert told == "gfl: unknown profile 'lapto'; did you mean 'laptop'?\n"
    assert main(["audit", "--profile", "coco", *folders]) == 0
    assert "4 minutes of processor time" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("given", ["2", "no", "0 1"])
def test_strict_is_1_or_0(given: str) -> None:
    """That is said before the environment is set up."""
    make = ["make", "--dry-run", "-C", str(ROOT), "audit"]
    refused = subprocess.run([*make, f"STRICT={given}"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stdout.count("\n") <= 2  # the folder that make enters and leaves
    assert f"STRICT={given}: expected 1 (check) or 0" in refused.stderr
    assert subprocess.run([*make, "STRICT=0"], capture_output=True).returncode == 0


def test_many_places_of_a_file_are_counted() -> None:
    found = [Finding(Path("a.csv"), f"line {i}", "1", "2") for i in range(25)]
    lines = command.said([*found, Finding(Path("b.csv"), "line 1", "1", "2")])
    assert lines[command.MOST] == "a.csv: 5 more places"
    assert lines[-1] == "26 places differ from what the records give, in 2 files."
    assert len(lines) == command.MOST + 3
