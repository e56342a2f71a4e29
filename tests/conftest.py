"""What every test may ask for."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from gfl.records.record import Store

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

# Test files that take more than about ten seconds, the longest first. Several workers begin with
# them (``--dist loadfile``), so that none has one left when the others are done.
LONGEST = (
    "experiments/queue/slurm/test_on_slurm.py",
    "gfl/training/test_resume.py",
    "notebooks/test_notebooks.py",
    "experiments/queue/test_sharing.py",
    "gfl/cuda/test_detectors.py",
    "gfl/training/test_processes.py",
    "analysis/figures/test_reference.py",
    "cli/test_outside.py",
    "gfl/training/test_ranks.py",
    "cli/test_configfile.py",
    "gfl/training/test_loaders.py",
    "gfl/records/test_account.py",
    "cli/test_evaluate.py",
    "experiments/test_own.py",
    "gfl/systems/test_trident.py",
    "analysis/audit/test_rounding.py",
    "experiments/queue/test_killed_at_random.py",
    "analysis/figures/test_figure.py",
    "experiments/queue/test_jobs.py",
    "gfl/training/test_full_disk_run.py",
    "analysis/test_extra.py",
    "cli/test_offline.py",
    "analysis/figures/test_photographs.py",
    "gfl/training/test_worker.py",
    "gfl/data/features/test_features.py",
    "analysis/audit/test_truth.py",
    "experiments/test_stale.py",
    "experiments/queue/test_run.py",
    "cli/test_odd_checkout.py",
    "gfl/training/test_diverged.py",
    "gfl/head/test_head.py",
    "gfl/data/test_seeding.py",
    "experiments/tables/test_extra.py",
    "gfl/test_compiled.py",
    "gfl/data/test_cocoapi.py",
    "gfl/training/test_lost.py",
    "gfl/assign/test_assign.py",
    "gfl/systems/test_centernet.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # of xdist: alone, files run in the order of their folders
        gone = [name for name in LONGEST if not (Path(__file__).parent / name).is_file()]
        if gone:
            raise pytest.UsageError(f"LONGEST in tests/conftest.py names {', '.join(gone)}")
        place = {f"tests/{name}": i for i, name in enumerate(LONGEST)}
        items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


# What a shell starts in the background ignores Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A machine without any run."""
    from gfl.records.record import Store  # after the hook

    return Store(tmp_path / "runs", tmp_path / "results")


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
