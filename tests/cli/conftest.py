from pathlib import Path

import pytest

from gfl.training import worker


@pytest.fixture(autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the embedded data set is drawn: once for all tests, and not in the checkout."""
    folder = tmp_path_factory.getbasetemp() / "data"
    monkeypatch.setattr(worker, "EMBEDDED", folder)
    return folder
