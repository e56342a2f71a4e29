from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import attempt
from gfl import train

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the embedded data set is drawn: once for all tests, and not in the checkout."""
    folder = tmp_path_factory.getbasetemp() / "data"
    monkeypatch.setattr(train, "EMBEDDED", folder)
    return folder


@pytest.fixture
def clean_commit(monkeypatch: pytest.MonkeyPatch) -> str:
    """The code is at a commit, without changes, whatever this checkout is like."""
    monkeypatch.setattr(attempt, "code_state", lambda: (COMMIT, False))
    return COMMIT


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[], list[str]]:
    """The ids of the runs that were trained, in order."""

    def read() -> list[str]:
        path = tmp_path / "runs/smoke/trained.txt"
        return path.read_text().split() if path.exists() else []

    return read
