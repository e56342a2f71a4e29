"""Estimates of the cost of runs on this machine, in time and on disk, from recorded runs."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from experiments.matrix import Run
from gfl.config import schedule_of
from gfl.data import photos
from gfl.data.features.frozen import NETWORKS
from gfl.data.photos_spec import PhotosSpec
from gfl.experiment import AnyExperiment, Profile, System
from gfl.records.record import RunRecord, Store, experiment_of, rebuilt
from gfl.shapes import embedded
from gfl.training.worker import embedded_root, photos_root

# Bytes of weights of the largest declared run of each backbone at a profile, and of the largest of
# Table 4's other systems, counted in the built models (test_estimates.py counts them again).
SYSTEMS = "systems"
WEIGHTS = {
    ("smoke", "r50"): 1_064_000,
    ("smoke", "r101"): 457_000,
    ("smoke", "x101-32x4d"): 742_400,
    ("smoke", "r101-dcn"): 644_700,
    ("smoke", "x101-32x4d-dcn"): 1_117_000,
    ("smoke", SYSTEMS): 5_933_000,
    ("laptop", "r50"): 3_884_000,
    ("laptop", "r101"): 3_022_000,
    ("laptop", "x101-32x4d"): 3_493_000,
    ("laptop", "r101-dcn"): 3_583_000,
    ("laptop", "x101-32x4d-dcn"): 4_613_000,
    ("laptop", SYSTEMS): 9_844_000,
    ("gpu", "r50"): 146_100_000,
    ("photos", "r50"): 897_600,
    ("coco", "r50"): 152_100_000,
    ("coco", "r101"): 206_200_000,
    ("coco", "x101-32x4d"): 204_800_000,
    ("coco", "r101-dcn"): 213_900_000,
    ("coco", "x101-32x4d-dcn"): 220_200_000,
    ("coco", SYSTEMS): 840_800_000,
}
# predictions.json: at most 100 detections per image; the laptop profile's take 4.0 to 4.6 kB.
PREDICTIONS_OF_AN_IMAGE = 4600
COCO_VALIDATION = 5000  # images
PHOTOGRAPH = 50_000  # bytes, prepared: 131 MB for 2,693
CHECKPOINTS = 3  # of a run in training: two kept and one being written
STATES = {"sgd": 2, "adam": 3, "adamw": 3}  # tensors in a checkpoint per weight, itself included

Kind = tuple[str, str, str]  # host, representation of boxes, backbone: the factors of speed


@dataclass(frozen=True)
class Sample:
    """Cost of one finished run."""

    kind: Kind
    seconds: float  # per epoch of its schedule
    bytes: int | None  # of its folder; None: not a local run


@dataclass(frozen=True)
class Costs:
    """Cost of a profile's runs here."""

    profile: Profile
    local: Sequence[Sample]
    reference: Sequence[Sample]

    @property
    def source(self) -> str:
        """Source of the times; empty if nothing is recorded."""
        if self.local:
            return "of local runs"
        return "of the reference" if self.reference else ""

    def seconds(self, run: Run, epochs_done: int = 0) -> float | None:
        """Return a run's duration, or its remainder; None without a recorded run of its kind."""
        samples = self.local or self.reference
        found = _mean([s.seconds for s in samples if s.kind == _kind(run.experiment)])
        epochs = schedule_of(run.experiment, run.profile).epochs - epochs_done
        return None if found is None else found * max(0, epochs)

    def bytes(self, run: Run) -> int:
        """Return the bytes that a finished run keeps on disk."""
        alike = [s for s in self.local if s.kind == _kind(run.experiment)]
        found = _mean([s.bytes for s in alike if s.bytes is not None])
        if found is not None:
            return round(found)
        data = self.profile.dataset or self.profile.photos
        images = data.val if data else COCO_VALIDATION
        return self._weights(run) + images * PREDICTIONS_OF_AN_IMAGE

    def _weights(self, run: Run) -> int:
        default = WEIGHTS[self.profile.name, "r50"]
        one = run.experiment
        kind = SYSTEMS if isinstance(one, System) else one.backbone
        return WEIGHTS.get((self.profile.name, kind), default)

    def working_bytes(self, runs: Iterable[Run], jobs: int) -> int:
        """Return an upper limit of the further bytes of the checkpoints of runs in training."""
        sizes = (
            self._weights(run) * STATES[schedule_of(run.experiment, run.profile).optimizer]
            for run in runs
        )
        return CHECKPOINTS * sum(sorted(sizes, reverse=True)[:jobs])


def costs(profile: Profile, store: Store) -> Costs:
    """Read the costs of finished runs of exactly this profile."""

    def sample(record: RunRecord | None, folder: Path | None) -> list[Sample]:
        if record is None or not record.is_finished:
            return []
        if (experiment := experiment_of(record.experiment)) is None:
            return []
        schedule = schedule_of(experiment, profile)
        # As declared or, in newer records, with the run's own schedule.
        same = (profile, replace(profile, schedule=schedule))
        if rebuilt(Profile, record.profile) not in same:
            return []
        seconds = record.seconds / schedule.epochs
        return [Sample(_kind(experiment), seconds, folder and size_of(folder))]

    name = profile.name
    local = [s for id in store.local_ids(name)
           for s in sample(store.local(name, id), store.run_dir(name, id))]  # fmt: skip
    reference = [s for id in store.reference_ids(name)
                 for s in sample(store.reference(name, id), None)]  # fmt: skip
    return Costs(profile, local, reference)


def data_bytes(profile: Profile) -> int:
    """Return the bytes that a profile's data will take, less what exists already."""
    if profile.photos is not None:
        return _photographs_bytes(profile.photos, profile.model.frozen or "")
    if (spec := profile.dataset) is None:
        return 0
    if embedded.is_complete(spec, embedded_root(spec)):
        return 0
    return 3 * spec.image_size**2 * (spec.train + spec.val)


def _photographs_bytes(spec: PhotosSpec, network: str) -> int:
    """Return the bytes of the prepared images and of a frozen network's features of them."""
    root, wants = photos_root(spec), NETWORKS[network]
    prepared = 0 if photos.found(spec, root) else PHOTOGRAPH * (spec.train + spec.val)
    if any(root.glob(f"features-{network}-*")):
        return prepared
    # float16, on canvases of 5:4, the shape of most pictures; training images are also flipped.
    first = 0.8 * spec.size**2 / 4**wants.first_level
    numbers = sum(first / 4**i * channels for i, channels in enumerate(wants.channels))
    return prepared + round(2 * numbers) * (2 * spec.train + spec.val)


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_bytes(folder: Path) -> int:
    """Return the free bytes at a folder, existing or not."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def in_all(seconds: Sequence[float], jobs: int) -> float:
    """Return the total time of runs in this order, ``jobs`` at a time."""
    ends = [0.0] * jobs
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def duration(seconds: float) -> str:
    """Format a duration: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_words(size: float) -> str:
    """Format a size: ``512 kB``, ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _kind(experiment: AnyExperiment) -> Kind:
    if isinstance(experiment, System):
        return experiment.method, "", experiment.backbone
    return experiment.host, experiment.boxes, experiment.backbone


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
