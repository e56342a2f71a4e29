"""What every test may ask for."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes of tensors are checked while tests run, and only then; before anything imports these.
TENSORS = (
    "assign",
    "blocks",
    "boxes",
    "geometry",
    "head",
    "hosts",
    "joint",
    "losses",
    "predictions.locations",
    "quality",
    "systems.trident",
    "systems.trident_network",
    "systems.reppoints",
    "systems.tsd",
    "systems.tsd_pooling",
    "systems.two_stage",
    "systems.centernet",
    "systems.keypoints",
    "systems.mirrored",
    "systems.sapd",
    "systems.stock",
)
install_import_hook([f"gfl.{module}" for module in TENSORS], "beartype.beartype")

# Tests are of the paper's rows, whatever else experiments/tables/extra.py declares; those of other
# rows declare their own (extra_rows). Before a test module looks up a table.
catalogue = importlib.import_module("experiments.tables.catalogue")
catalogue.TABLES.update(catalogue.PAPERS)

# Where several threads compute, in this process or a test's own, those that wait for others sleep:
# spinning, they take the cores that the others need. Before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What a shell starts in the background ignores Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def smoke_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the smoke profile may be promoted, for want of quicker ones."""
    monkeypatch.setattr("experiments.promote.REHEARSALS", ())


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the project with real COCO images; a user's clone has none."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"{folder}/data is not there: this test needs its COCO images and results")
    return folder


@pytest.fixture(autouse=True)
def checked_images(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where images that were found sound are remembered: not in the checkout."""
    folder = tmp_path_factory.getbasetemp() / "checked-images"
    monkeypatch.setattr("gfl.data.own.image_check.REMEMBERED", folder)
    return folder
