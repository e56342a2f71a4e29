"""What notebooks open and show."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.library import Library
from analysis.notebook.display import opened, picture, show
from experiments import profiles
from gfl.errors import UserError
from gfl.records.record import Store


@pytest.fixture
def empty(tmp_path: Path) -> Library:
    return Library(Store(tmp_path / "runs", tmp_path / "results"), "reference")


def test_the_committed_results_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROFILE", raising=False)
    monkeypatch.setenv("STORE", "")  # as make exports it
    library, profile = opened()
    assert (library.source, profile.name) == ("reference", "laptop")
    assert not library.store.mend


def test_the_environment_may_ask_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILE", "smoke")
    monkeypatch.setenv("STORE", "local")
    library, profile = opened()
    assert (library.source, profile.name) == ("local", "smoke")
    assert opened("gpu", "reference")[1].name == "gpu"
    monkeypatch.setenv("STORE", "locale")
    with pytest.raises(UserError, match="did you mean 'local'"):
        opened()


def test_a_figure_that_needs_no_run_is_shown_with_its_caption(empty: Library) -> None:
    shown = show("5a", empty, profiles.get("laptop"))
    assert shown.picture is not None
    assert shown.picture.startswith(b"\x89PNG")
    assert shown.text.startswith("**Figure 5a.** ")
    assert shown.numbers is not None
    assert len(shown.numbers)


def test_a_figure_without_its_runs_says_which_and_how_to_make_them(empty: Library) -> None:
    shown = show("2b", empty, profiles.get("laptop"))
    assert shown.picture is None
    assert "atss-iou-branch-dirac-s0-" in shown.text
    assert "gfl run" in shown.text


def test_an_unknown_figure_is_refused(empty: Library) -> None:
    with pytest.raises(UserError, match="unknown figure '2d'"):
        show("2d", empty, profiles.get("laptop"))


def test_no_figure_is_a_line() -> None:
    assert "Nothing to draw" in str(picture(None).data)
