import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from analysis.tables import terminal
from analysis.tables.layout import lay_out
from cli.main import main
from experiments import profiles
from experiments.tables import catalogue as declared

SMOKE = profiles.get("smoke")
APS = {f"{host} {row}": (30.0, 31.5, 32.0) for host in ("FCOS", "ATSS") for row in (
    "w/o quality branch", "centerness-branch", "IoU-branch", "joint w/ QFL",
)}  # fmt: skip


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", ["table-1a", "table-1b", "table-2b", "table-3", "table-4"])
def test_a_terminal_gets_every_figure_and_no_broken_line(
    fill: Callable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    name: str,
    columns: int,
) -> None:
    table = declared.find(name)
    made = lay_out(table, SMOKE, fill(table, APS), with_local=True)
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal.show(made, ["  a verdict " + "of many words " * 10])
    shown = capsys.readouterr().out
    assert max(cell_len(line.rstrip()) for line in shown.splitlines()) <= columns
    assert "…" not in shown
    for block in made.blocks:
        first, *later = terminal.pages(made, block, columns)
        lead = 2 if made.has_sources else 1
        heads = [column.header for column in first.columns]
        heads += [column.header for page in later for column in page.columns[lead:]]
        assert tuple(heads) == made.header
        assert all(number in shown for line in block.lines for number in line.cells)


def test_pages_begin_with_a_name_that_no_other_row_has(
    fill: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    table = declared.find("table-4")
    monkeypatch.setenv("COLUMNS", "80")
    photos = profiles.get("photos")  # which does not run it: a line a row
    terminal.show(lay_out(table, photos, fill(table, {}), with_local=False), [])
    lines = capsys.readouterr().out.splitlines()
    first, second = [i for i, line in enumerate(lines) if line.startswith("Method")]
    assert lines[first].split()[:2] == ["Method", "Backbone"]
    assert lines[second].split()[-1] == "AP_L"
    names = [line.rpartition("  ")[0] for line in lines[second + 1 : second + 37]]
    assert len(set(names)) == 36
    assert any(line.startswith("GFL X-101-32x4d-DCN ") for line in lines[second:])


def test_one_command_prints_the_parts_of_a_table_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delitem(os.environ, "COLUMNS", raising=False)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    for name, parts in (("table-1", ["1a", "1b", "1c"]), ("2", ["2a", "2b", "2c"])):
        assert main(["table", name, "--profile", "smoke", *folders]) == 0
        shown = capsys.readouterr().out
        places = [shown.index(f"Table {part}: ") for part in parts]
        assert places == sorted(places)
    assert main(["table", "all", "--profile", "smoke", *folders]) == 0
    shown = capsys.readouterr().out
    assert all(f"{table.title}: " in shown for table in declared.TABLES.values())
    assert not (tmp_path / "results").exists()
