"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes and types are checked while tests run, and only then; before anything imports gfl.
install_import_hook("gfl", "beartype.beartype")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project with real COCO images; a user's clone has none."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"{folder}/data is not there: this test needs its COCO images and results")
    return folder
