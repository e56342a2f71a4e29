import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import checkout
from experiments.queue import attempt
from gfl.records import digests
from gfl.training import worker

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the embedded data set is drawn: once for all tests, and not in the checkout."""
    folder = tmp_path_factory.getbasetemp() / "data"
    monkeypatch.setattr(worker, "EMBEDDED", folder)
    return folder


@pytest.fixture
def clean_commit(monkeypatch: pytest.MonkeyPatch) -> str:
    """The code is at a commit, without changes, whatever this checkout is like."""
    monkeypatch.setattr(attempt, "code_state", lambda: (COMMIT, False))
    monkeypatch.setattr(checkout, "has_commit", lambda commit: commit == COMMIT)
    return COMMIT


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The losses' file in a copy of the code, which counts as the code that is here."""
    copy = tmp_path / "checkout"
    shutil.copytree(digests.ROOT / "gfl", copy / "gfl", ignore=shutil.ignore_patterns("__pyc*"))
    monkeypatch.setattr(digests, "ROOT", copy)
    return copy / "gfl/losses.py"


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[], list[str]]:
    """The ids of the runs that were trained, in order."""

    def read() -> list[str]:
        path = tmp_path / "runs/smoke/trained.txt"
        return path.read_text().split() if path.exists() else []

    return read
