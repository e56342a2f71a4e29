"""A row whose name is markup, a formula, control characters: shown everywhere, obeyed nowhere.

For names of classes, files and folders: ``tests/cli/test_outside.py`` and ``test_configfile.py``;
for all else that a report may be told: ``report/test_page.py``.
"""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from extra_rows import QFL_3, declare
from markdown_it import MarkdownIt
from markdown_it.token import Token
from recorded import of
from reported import claims

from analysis.claims.stored import as_json
from analysis.errors import tables as errors
from analysis.errors.runs import ALL, IOUS, Line, Report
from analysis.errors.tide import Errors
from analysis.report import html as report
from cli.main import main
from experiments import profiles
from experiments.matrix import Run, plan
from experiments.tables import catalogue
from experiments.tables.declare import Row
from gfl import escape
from gfl.records.record import METRICS, RunRecord, Store

LAPTOP = profiles.get("laptop")
NAMES = {
    "formula": '=HYPERLINK("http:x","y")',
    "command": "@SUM(1+1)*cmd|' -C calc'!A0",
    "markup": "<img src=x onerror=alert(1)> **b** [a](javascript:b) `c` | d",
    "control": "\x1b[2J\x07\u202egpj\nsecond line\r\x85",
    "python": "'''\nimport os\r{{ fileDirname }}\\",
    "formula of TeX": r"$\frac{1}{2}$ {{7*7}} {% raw %}",
}
Cli = Callable[..., str]


@pytest.fixture(params=NAMES.values(), ids=list(NAMES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Store:
    """Records of Table 3's rows and of one with that name, and claims about them."""
    for table in catalogue.TABLES:
        monkeypatch.setitem(catalogue.TABLES, table, catalogue.PAPERS[table])
    declare("table-3", monkeypatch, Row(name, QFL_3, marks=("✓", ""), note=f"Noted: {name}"))
    store = Store(tmp_path / "runs", tmp_path / "results", mend=False)
    runs = plan([catalogue.find("table-3")], LAPTOP, [0])
    for run in runs:
        path = store.reference_path("laptop", run.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        made(run).save(path)
        local = store.run_dir("laptop", run.id) / "record.json"
        local.parent.mkdir(parents=True)
        replace(made(run), message=name).save(local)
    text = as_json(claims(store, tuple(run.id for run in runs if not run.is_extra)))
    (store.results / "claims.json").write_text(text)
    return store


def made(run: Run) -> RunRecord:
    metrics = {metric: 30.0 + i for i, metric in enumerate(METRICS)}
    return of(run, metrics=metrics, fps=10.0, hardware={"cpu": "a processor"})


@pytest.fixture
def cli(store: Store, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("COLUMNS", "200")
    folders = ["--runs", str(store.runs), "--results", str(store.results)]

    def call(*words: str) -> str:
        code = main([*words, "--profile", "laptop", *folders])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out + err

    return call


def spelt(name: str) -> str:
    """A name as this project spells it: what does not show is spelt out."""
    return escape.terminal(name)


def test_a_terminal_shows_it(cli: Cli, name: str) -> None:
    (extra,) = (run.id for run in plan([catalogue.find("table-3")], LAPTOP, [0]) if run.is_extra)
    for words in (
        ("table", "table-3", "--no-write"),
        ("status",),
        ("run", "table-3", "--dry-run", "--seeds", "1"),
        ("diff", extra, "table-3/QFL"),
    ):
        said = cli(*words)
        lines = said.split("\n")
        assert all(line.isprintable() for line in lines), words
        assert not [x for x in lines if x.lstrip().startswith(("second line", "import os"))], words
        if words[0] == "run":
            assert f"table-3/{spelt(name)}" in said


class Shown(html.parser.HTMLParser):
    """What a page shows outside of scripts, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.within = "", [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name for name, _ in attrs if name.startswith("on")}))
        self.within = tag

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within not in ("script", "style"):
            self.text += data


def plain(text: str) -> str:
    return " ".join(text.split())


def test_markdown_and_csv_show_it(cli: Cli, store: Store, name: str) -> None:
    cli("table", "table-3")
    folder = store.results / "tables/laptop"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse((folder / "table-3.md").read_text())
    inline = [token for token in tokens if token.type == "inline"]
    children = [child for token in inline for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "strong_open", "strong_close"}
    assert not [token for token in tokens if token.type in ("html_block", "code_block", "fence")]
    shown = ["".join(child.content for child in token.children or ()) for token in inline]
    assert any(plain(text).startswith(plain(spelt(name))) for text in shown)
    assert_no_formula((folder / "table-3.csv").read_text(), name)


def assert_no_formula(text: str, name: str) -> None:
    """A spreadsheet takes no field for a formula, and the name stands in one."""
    fields = [field for row in csv.reader(io.StringIO(text)) for field in row]
    for field in fields:
        assert field.isprintable()
        if field.lstrip()[:1] in tuple("=+-@"):
            float(field)
    assert any(spelt(name) in field for field in fields)


def test_errors_by_kind_show_it(store: Store, name: str) -> None:
    none = dict.fromkeys(ALL, 0.0)
    found = {iou: {0: Errors(96.5, 100, dict.fromkeys(ALL, 1), none)} for iou in IOUS}
    given = Report((Line(QFL_3, [f"3 {name}", name], found),), ())
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(errors.markdown(given, LAPTOP))
    inline = [token for token in tokens if token.type == "inline"]
    (cells,) = {t.content for t in inline if plain(text_of(t)) == plain(spelt(f"3 {name}; {name}"))}
    assert "\n" not in cells
    kinds = {child.type for token in inline for child in token.children or ()}
    assert kinds <= {"text", "softbreak", "strong_open", "strong_close"}
    assert_no_formula(errors.tidy_csv(given), name)


def text_of(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def test_the_report_shows_it(store: Store, name: str) -> None:
    page = Shown(report(LAPTOP, store, local=False))
    assert plain(escape.html(name)) in plain(page.text)  # where the end of a line is a space
    assert not any(handlers for _, handlers in page.tags)
    assert not [tag for tag, _ in page.tags if tag == "img"]  # no figure is drawn here
    assert [tag for tag, _ in page.tags].count("script") == 3


def test_a_generated_file_of_python_only_assigns(cli: Cli, name: str) -> None:
    text = cli("config", f"table-3/{name}")
    assert all(isinstance(statement, ast.Assign) for statement in ast.parse(text).body)
    assert "{{" not in text
    assert f"table-3/{spelt(name)[:8]}" in text or "{{" in name


def test_json_gives_it_back(cli: Cli, name: str) -> None:
    said = json.loads(cli("status", "--json"))
    assert f"table-3/{name}" in [cell for run in said["runs"] for cell in run["cells"]]
