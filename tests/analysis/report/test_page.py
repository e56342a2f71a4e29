"""The report as text: whole, linked, escaped, the same again, and of the records at hand."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reported import EVIL, LAPTOP, Made, claims, fill

from analysis.claims.stored import as_json, of_records
from analysis.report import html, write
from analysis.report.page import made_of
from cli.main import main
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.records.record import Store

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link", "img", "input", "br", "rect", "line", "path", "circle", "polyline"}


class Page(HTMLParser):
    """Every element with its attributes, its text, and what is not closed as it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.said.append(data)

    def values(self, name: str, tag: str = "") -> list[str]:
        return [a[name] for t, a in self.elements if name in a and tag in ("", t)]


@pytest.fixture(scope="module")
def parsed(made: Made) -> Page:
    return Page(made.text)


def test_elements_close_in_the_order_in_which_they_open(parsed: Page) -> None:
    assert parsed.open == []
    assert parsed.crossed == []


def test_ids_are_single_and_every_reference_leads_somewhere(parsed: Page) -> None:
    ids = parsed.values("id")
    assert len(set(ids)) == len(ids)
    named = [
        id for name in ("for", "aria-controls", "aria-labelledby") for id in parsed.values(name)
    ]
    linked = [href[1:] for href in parsed.values("href", "a")]
    assert set(named + linked) <= set(ids)
    assert all(href.startswith("#") for href in parsed.values("href", "a"))


def test_nothing_is_fetched(parsed: Page) -> None:
    fetched = parsed.values("src") + parsed.values("href", "link")
    assert all(address.startswith("data:") for address in fetched)
    (policy,) = parsed.values("content", "meta")[:1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_what_is_to_be_seen_is_told_too(parsed: Page, made: Made) -> None:
    pictures = [a for tag, a in parsed.elements if tag == "img"]
    assert len(pictures) == 1  # the one drawn figure
    assert pictures[0]["alt"].startswith("Figure 2(b): ")
    svgs = [a for tag, a in parsed.elements if tag == "svg"]
    assert svgs
    assert all("aria-label" in a or a.get("aria-hidden") == "true" for a in svgs)
    assert "from 1.98 down to 0.07" not in made.text  # a curve tells its own ends
    assert re.search(r"Training loss over 390 iterations, from \d\.\d\d down to", made.text)


def test_strings_of_records_and_claims_are_escaped(parsed: Page, made: Made) -> None:
    assert EVIL not in made.text
    assert [tag for tag, _ in parsed.elements].count("script") == 3
    assert not any(name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    said = "".join(parsed.said)
    assert said.count(EVIL) > 10


def test_the_page_has_every_part(parsed: Page, made: Made) -> None:
    ids = set(parsed.values("id"))
    assert {"summary", "claims", "text-checks", "tables", "figures", "runs", "reproduce"} <= ids
    assert set(catalogue.TABLES) <= ids
    said = " ".join("".join(parsed.said).split())
    assert "How the 3 claims came out" in said
    assert "1 ✓ supported" in said
    assert "Not drawn: make figure-2a" in said
    for id in made.ids:
        assert f"{id} <img" in said  # as the fixture named it


def test_the_same_records_give_the_same_bytes(made: Made) -> None:
    first, second = (html(LAPTOP, made.store, local=False) for _ in range(2))
    assert first == second


def test_the_committed_report_is_of_what_is_committed() -> None:
    store = Store(ROOT / "runs", ROOT / "results")
    reports = sorted((ROOT / "results" / "report").glob("*.html"))
    reports = [path for path in reports if ".local" not in path.name]
    assert [path.stem for path in reports] == ["laptop", "photos"]
    for path in reports:
        text = path.read_text(encoding="utf-8")
        stands = re.search(r'<meta name="made-of" content="(\w+)">', text)
        assert stands
        assert stands[1] == made_of(path.stem, store, local=False), "make report"
        assert len(text.encode()) < 6e6


def test_what_a_page_is_made_of_changes_with_every_file(store: Store) -> None:
    ids = fill(store)
    path = store.results / "claims.json"
    path.write_text(as_json(claims(store, ids)))
    before = made_of("laptop", store, local=False)
    assert before == made_of("laptop", store, local=False)
    path.write_text(path.read_text() + " ")
    after = made_of("laptop", store, local=False)
    store.reference_path("laptop", ids[0]).unlink()
    assert len({before, after, made_of("laptop", store, local=False)}) == 3


def test_commands_are_the_makefile_s(parsed: Page) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][\w%-]*):", makefile, re.MULTILINE)
    patterns = [re.compile(target.replace("%", r"[\w-]+")) for target in targets]
    used = set(re.findall(r"\bmake ([a-z][\w-]*)", "\n".join(parsed.said)))
    assert {"reproduce-table-3", "figure-2b", "audit", "report", "errors", "promote"} <= used
    assert [name for name in used if not any(p.fullmatch(name) for p in patterns)] == []
    assert 'make reproduce-table-3 SEEDS="0 1"' in "".join(parsed.said)


def test_a_profile_without_runs_has_the_paper_alone(made: Made) -> None:
    from experiments import profiles

    page = Page(html(profiles.get("coco"), made.store, local=False))
    assert "3 – untested" in " ".join("".join(page.said).split())
    assert page.values("data-metric") == []


def test_claims_must_be_there_and_of_these_records(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = fill(store)
    path = store.results / "claims.json"
    with pytest.raises(UserError, match=r"claims\.json is not there: make audit"):
        of_records(store, "reference", ["laptop"], ids)
    content = json.loads(as_json(claims(store, ids)))
    path.write_text(json.dumps(content))
    assert len(of_records(store, "reference", ["laptop"], ids).claims) == 3
    content["profiles"]["laptop"]["records"][ids[0]] = "0" * 64
    path.write_text(json.dumps(content))
    arguments = ["report", "--results", str(store.results), "--runs", str(store.runs)]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gfl: ")
    assert line.endswith(f"is of other records of {ids[0]}: make audit writes it anew")
    content["profiles"] = {}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"does not try {ids[0]}, .*: make audit"):
        of_records(store, "reference", ["laptop"], ids)
    path.write_text('{"schema": 1, "profiles": {}, "claims": [{}]}')
    with pytest.raises(UserError, match="make audit"):
        of_records(store, "reference", ["smoke"])


def test_a_report_has_its_file(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "a" / "page.html"
    assert write(LAPTOP, made.store, False, out) == out
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
