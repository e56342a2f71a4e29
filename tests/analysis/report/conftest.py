"""A report of a few made-up runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image
from reported import ERRORS, EVIL, LAPTOP, LOSS, Made, claims, fill

from analysis.claims.stored import as_json
from analysis.report import html, page, runs
from analysis.speed.record import save
from gfl.records.record import Store


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The page of four rows, one figure, errors and a benchmark."""
    results = tmp_path_factory.mktemp("report") / "results"
    store = Store(results.parent / "runs", results)
    ids = fill(store)
    (results / "claims.json").write_text(as_json(claims(store, ids)))
    figures = results / "figures" / "laptop"
    figures.mkdir(parents=True)
    Image.new("RGB", (80, 40), "white").save(figures / "fig2b.png")
    (results / "benchmarks").mkdir()
    save(LOSS, results / "benchmarks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "gather", lambda profile, library: ERRORS)
        # A run's name that came past every check: the page is the last to hold.
        cards = runs.cards
        patch.setattr(runs, "cards", lambda shown: [_named(card) for card in cards(shown)])
        text = html(LAPTOP, store, local=False)
    path = results.parent / "report.html"
    path.write_text(text, encoding="utf-8")
    yield Made(text, path, store, ids)
    shutil.rmtree(results.parent)


def _named(card: runs.Card) -> runs.Card:
    return replace(card, runs=tuple(replace(run, id=f"{run.id} {EVIL}") for run in card.runs))
