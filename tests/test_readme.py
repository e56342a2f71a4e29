"""The README and the pages in docs say what the repository has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = "".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize(("mark", "profile"), [("table-3", "laptop"), ("table-3-photos", "photos")])
def test_its_tables_are_the_committed_ones(mark: str, profile: str) -> None:
    shown = README.partition(f"<!-- {mark} -->\n")[2].partition("<!-- end -->")[0]
    committed = (ROOT / f"results/tables/{profile}/table-3.md").read_text(encoding="utf-8")
    table = [line for line in committed.splitlines() if line.startswith("|")]
    assert shown.strip().splitlines() == table
    assert len(table) > 4


def test_its_count_of_verdicts_is_the_committed_one() -> None:
    shown = README.partition("<!-- claims -->\n")[2].partition("<!-- end claims -->")[0]
    committed = (ROOT / "results/claims.md").read_text(encoding="utf-8")
    counts = committed.partition("\n## ")[0].partition("\n\n")[2]
    assert shown.strip() == counts.strip()
    assert shown.count("\n") >= 3


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][\w%-]*):", makefile, re.MULTILINE)
    patterns = [re.compile(target.replace("%", r"[\w-]+")) for target in targets]
    used = set(re.findall(r"(?:`|^ {4})make ([a-z][\w-]*)", TEXTS, re.MULTILINE))
    assert {"reproduce-table-3", "test"} <= used
    assert [name for name in used if not any(p.fullmatch(name) for p in patterns)] == []


def test_its_files_exist() -> None:
    named = set(re.findall(r"`((?:gfl|experiments|results|analysis|docs)/[\w./-]*)`", TEXTS))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
