"""Read-only access to records, predictions and images, for figures and claims.

``Library(store, "reference")`` reads the committed reference, which every clone has;
``Library(store, "local")`` the local runs. Nothing is trained or predicted here.
``gfl.predictions`` documents the columns of the predictions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from analysis import cache, photographs
from analysis.photographs import NotInData
from analysis.pool import kept_workers
from experiments.matrix import Run
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Profile, at_scale
from gfl.files import sha256
from gfl.predictions import schema
from gfl.predictions.error_kinds import FOREGROUND, Sorted
from gfl.predictions.overlaps import Found, Truth
from gfl.records.record import RUN_ID, RunRecord, Store, run_id
from gfl.shapes import embedded
from gfl.shapes.side_labels import SIDES

if TYPE_CHECKING:
    from gfl.predictions.matches import Evaluated
    from gfl.predictions.matching import Matches

Source = Literal["reference", "local"]
KEPT = (schema.MATCHES, schema.OBJECTS)
SPLIT = "val"


class MissingRuns(UserError):  # noqa: N818  not a fault of the code
    """Missing runs, or predictions of runs; names them and the command to make them."""

    def __init__(self, runs: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.runs = tuple(runs)


@dataclass(frozen=True)
class Locations:
    """Content of a run's ``locations.parquet``."""

    frame: pd.DataFrame  # all columns but those of P(x)
    n: int | None  # bins of a General distribution, less one
    delta: float | None  # width of its bins, strides
    p: np.ndarray | None  # [rows, 4, n + 1]: P(y_i) of left, top, right, bottom; sums to 1


@dataclass(frozen=True)
class Library:
    """Records and predictions of the runs in one place."""

    store: Store
    source: Source = "reference"
    truth: Mapping[str, Any] | None = None  # annotation file's content, of data not embedded
    photographs: Path | None = None  # the folder of images that are not embedded

    def id(self, experiment: AnyExperiment, profile: Profile, seed: int = 0) -> str:
        return run_id(at_scale(experiment, profile), profile, seed)

    def record(self, experiment: AnyExperiment, profile: Profile, seed: int = 0) -> RunRecord:
        """Return the record of a finished run.

        Raises:
            MissingRuns: there is none.
        """
        (record,) = self.need([experiment], profile, (seed,), files=())
        return record

    def records(self, profile: Profile) -> list[RunRecord]:
        """Return the records of the finished runs of the paper's rows, in the order of their ids.

        Excludes runs of additional rows (``extra``); includes those for tuning hyper-parameters.
        """
        slugs = {experiment.slug for experiment in catalogue.experiments(profile)}
        ids = [id for id in self._ids(profile.name) if _slug(id) in slugs]
        found = (self._read(profile.name, id) for id in ids)
        return [record for record in found if record is not None]

    def need(
        self,
        experiments: Iterable[AnyExperiment],
        profile: Profile,
        seeds: Sequence[int] = (0,),
        files: Sequence[str] = (schema.DETECTIONS, schema.LOCATIONS),
    ) -> list[RunRecord]:
        """Return the records of several runs, seed by seed.

        Raises:
            MissingRuns: names all that are missing, or that lack one of the ``files`` of
                predictions required for their kind.
        """
        found: list[RunRecord] = []
        untrained: list[Run] = []
        unpredicted: list[str] = []
        for seed in seeds:
            for experiment in experiments:
                id = run_id(experiment, profile, seed)
                record = self._read(profile.name, id)
                if record is None:
                    untrained.append(Run(id, experiment, profile, seed, ()))
                elif not self._has(record, profile, files):
                    unpredicted.append(id)
                else:
                    found.append(record)
        if untrained or unpredicted:
            message = self._missing(untrained, unpredicted, files, profile)
            raise MissingRuns([*(run.id for run in untrained), *unpredicted], message)
        return found

    def detections(
        self, experiment: AnyExperiment, profile: Profile, seed: int = 0
    ) -> pd.DataFrame:
        """Return a run's final detections.

        Raises:
            MissingRuns: they are missing.
            UserError: the file is damaged.
        """
        return self._table(experiment, profile, seed, schema.DETECTIONS).to_pandas()

    def locations(self, experiment: AnyExperiment, profile: Profile, seed: int = 0) -> Locations:
        """Return a run's locations: all positives, a random sample; only of FCOS and ATSS.

        Raises:
            MissingRuns: they are missing.
            UserError: the file is damaged, or the run has another host.
        """
        table = self._table(experiment, profile, seed, schema.LOCATIONS)
        meta, p = schema.metadata(table), schema.densities(table)
        plain = [name for name in table.column_names if not re.fullmatch(r"p_\w+", name)]
        return Locations(table.select(plain).to_pandas(), meta["n"], meta["delta"], p)

    def results(
        self, experiment: AnyExperiment, profile: Profile, seed: int = 0
    ) -> list[dict[str, Any]]:
        """Return a run's final detections as COCO's results, bit for bit as evaluated.

        Raises:
            MissingRuns: they are missing.
            UserError: the file is damaged.
        """
        return coco_results(self.detections(experiment, profile, seed))

    def matches(self, experiment: AnyExperiment, profile: Profile, seed: int = 0) -> Matches:
        """Return the matches of a run's detections, stored or recomputed from the ground truth.

        Raises:
            MissingRuns: both they and their sources are missing.
            UserError: a file is damaged.
        """
        from gfl.predictions import matching

        if (stored := self.evaluated(experiment, profile, seed)) is not None:
            return stored.matches()
        return matching.match(self.dataset(profile), self.results(experiment, profile, seed))

    def errors(
        self, experiment: AnyExperiment, profile: Profile, seed: int = 0, iou: float = FOREGROUND
    ) -> Sorted:
        """Return a run's detections by kind of error, stored or recomputed like ``matches``."""
        if (stored := self.evaluated(experiment, profile, seed)) is not None:
            return stored.errors(iou)
        found = Found.stored(_columns(self.detections(experiment, profile, seed)))
        return Sorted.of(self._boxes(profile), found, iou)

    def evaluated(
        self, experiment: AnyExperiment, profile: Profile, seed: int = 0
    ) -> Evaluated | None:
        """Return a run's stored evaluation; None if the ground truth is to be used instead.

        Raises:
            MissingRuns: it is not stored, and the ground truth is not here.
            UserError: a file is damaged.
        """
        (record,) = self.need([experiment], profile, (seed,), files=())
        if not self.keeps_matches(record, profile):
            if not self.has_truth(profile):
                self.need([experiment], profile, (seed,), files=KEPT)
            return None
        from gfl.predictions import matches

        return matches.read(self._folder(profile.name, record.id), record.predictions)

    def keeps_matches(self, record: RunRecord, profile: Profile) -> bool:
        """Return True if a run's matches are stored."""
        return self._has(record, profile, KEPT)

    def is_evaluated(self, record: RunRecord, profile: Profile) -> bool:
        """Return True if a run's matches are stored or can be recomputed."""
        if self.keeps_matches(record, profile):
            return True
        return self.has_truth(profile) and self._has(record, profile, (schema.DETECTIONS,))

    def has_truth(self, profile: Profile) -> bool:
        """Return True if the ground truth is here: embedded, or given."""
        return profile.dataset is not None or self.truth is not None

    def deciding(self, profile: Profile) -> tuple[str, ...]:
        """Return the files that determine a run's metrics here."""
        return (schema.DETECTIONS,) if self.has_truth(profile) else KEPT

    def _boxes(self, profile: Profile) -> Truth:
        if profile.dataset is None:
            return Truth.of(self.dataset(profile))
        return _truth(profile.dataset)

    def dataset(self, profile: Profile) -> dict[str, Any]:
        """Return the validation set's annotation file, as used in the evaluation of runs.

        Raises:
            UserError: the profile's data are not embedded, and no annotation file was given.
        """
        if profile.dataset is None and self.truth is not None:
            return dict(self.truth)
        spec = _spec(profile)
        return embedded.coco(spec, SPLIT, _annotations(spec))

    def checksums(self, record: RunRecord, profile: Profile) -> dict[str, str]:
        """Return the SHA-256 of a run's existing predictions, by file name.

        Actual checksums; verified against the record on read.
        """
        folder = self._folder(profile.name, record.id)
        paths = [folder / name for name in sorted(record.predictions)]
        return {path.name: sha256(path) for path in paths if path.is_file()}

    def ground_truth(self, profile: Profile) -> pd.DataFrame:
        """Return the boxes of the embedded validation set, with the known facts about their sides.

        Columns: image_id, gt_id, category_id; x1 y1 x2 y2 in px of the image; kind_left ... (sharp,
        blurred, shadow, occluded) and distribution_left ..., JSON as in the annotation file.

        Raises:
            UserError: the profile's data are not embedded.
        """
        return _ground_truth(_spec(profile)).copy()

    def has_images(self, profile: Profile) -> bool:
        """Return True if the profile's images are available."""
        return profile.dataset is not None or (
            profile.photos is not None and self.photographs is not None
        )

    def image(self, profile: Profile, image_id: int) -> np.ndarray:
        """Return a validation image as runs see it, uint8 [height, width, 3], RGB.

        Raises:
            UserError: the images are neither embedded nor available, or there is no such one.
        """
        if profile.photos is not None and self.photographs is not None:
            return photographs.read(self.photographs, profile.photos, image_id)
        spec = _spec(profile)
        if not 1 <= image_id <= spec.val:
            raise UserError(f"image {image_id}: {profile.name} has 1 to {spec.val} for validation")
        return embedded.render(spec, SPLIT, image_id - 1)[0]

    def _table(self, experiment: AnyExperiment, profile: Profile, seed: int, name: str) -> Any:
        (record,) = self.need([experiment], profile, (seed,), (name,))
        if name not in record.predictions:
            raise UserError(f"{record.id} has no {name}: only FCOS and ATSS have this head")
        path = self._folder(profile.name, record.id) / name
        return schema.read(path, record.predictions[name])

    def _read(self, profile: str, id: str) -> RunRecord | None:
        read = self.store.reference if self.source == "reference" else self.store.local
        record = read(profile, id)
        return record if record is not None and record.is_finished else None

    def _ids(self, profile: str) -> list[str]:
        store = self.store
        return (store.reference_ids if self.source == "reference" else store.local_ids)(profile)

    def _folder(self, profile: str, id: str) -> Path:
        if self.source == "reference":
            return self.store.reference_predictions(profile, id)
        return self.store.run_dir(profile, id)

    def _has(self, record: RunRecord, profile: Profile, files: Sequence[str]) -> bool:
        folder = self._folder(profile.name, record.id)
        if not files:
            return True
        # Of runs with predictions, only those of FCOS and ATSS have locations.
        named, may_lack = record.predictions, (schema.LOCATIONS,)
        may_lack = may_lack if schema.DETECTIONS in named else ()
        needed = [name for name in files if name in named or name not in may_lack]
        return bool(named) and all(n in named and (folder / n).is_file() for n in needed)

    def _missing(
        self, untrained: list[Run], unpredicted: list[str], files: Sequence[str], profile: Profile
    ) -> str:
        """Return one line: what is missing, and the command that makes it."""
        local = self.source == "local"
        parts, commands = [], []
        if untrained:
            names = [run.id for run in untrained]
            where = "not finished locally" if local else "not among the reference records"
            parts.append(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {where}")
            commands += [run.command for run in untrained]
        if unpredicted:
            where = "locally" if local else "in the reference"
            has = "has" if len(unpredicted) == 1 else "have"
            parts.append(f"{', '.join(unpredicted)} {has} no {_what(files)} {where}")
            commands.append(f"gfl predict {' '.join(unpredicted)} --profile {profile.name}")
        then = "" if local else " (and STORE=local, or --store local, to draw the local runs)"
        return f"{'; '.join(parts)}: {' && '.join(commands)}{then}"


def coco_results(detections: pd.DataFrame) -> list[dict[str, Any]]:
    """Return ``Library.detections`` as COCO's results; see ``gfl.predictions.schema.results``."""
    return schema.results(_columns(detections))


def _columns(detections: pd.DataFrame) -> dict[str, np.ndarray]:
    names = ("image_id", "category_id", "score", "x1", "y1", "x2", "y2")
    return {name: detections[name].to_numpy() for name in names}


def _what(files: Sequence[str]) -> str:
    """Name what is missing without one of these files."""
    if schema.MATCHES in files:
        return "matches"
    return "predictions" if schema.LOCATIONS in files else "detections"


def _slug(id: str) -> str | None:
    match = RUN_ID.fullmatch(id)
    return match["slug"] if match else None


def _spec(profile: Profile) -> embedded.ShapesSpec:
    if profile.dataset is None:
        raise NotInData(
            f"the {profile.name} profile has no embedded data, so what is drawn on its images "
            "cannot be drawn here; take --profile laptop or gpu"
        )
    return profile.dataset


@lru_cache(maxsize=4)
def _truth(spec: embedded.ShapesSpec) -> Truth:
    return Truth.of(embedded.coco(spec, SPLIT, _annotations(spec)))


@lru_cache(maxsize=4)
def _ground_truth(spec: embedded.ShapesSpec) -> pd.DataFrame:
    rows = []
    for index, on_image in enumerate(_annotations(spec)):
        for one in on_image:
            x, y, width, height = one["bbox"]
            # Numbered as in shapes.write: from 1, image after image.
            row = {"image_id": index + 1, "gt_id": len(rows) + 1, "category_id": one["category_id"]}
            row |= {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
            row |= {f"kind_{side}": one["sides"][side]["kind"] for side in SIDES}
            row |= {
                f"distribution_{side}": json.dumps(one["sides"][side]["distribution"])
                for side in SIDES
            }
            rows.append(row)
    return pd.DataFrame(rows)


def _annotations(spec: embedded.ShapesSpec) -> list[list[dict[str, Any]]]:
    """Return each image's annotations, cached: drawing 1000 images for them takes half a minute.

    A corrupt file is made again.
    """
    entry = cache.entry("annotations.json", [asdict(spec), SPLIT], embedded.__name__)
    if (known := entry.json()) is not None:
        return known
    count = spec.count(SPLIT)
    with kept_workers(count, partial, _annotated, spec) as each:
        images = list(each(range(count)))
    entry.keep_json(images)
    return images


def _annotated(spec: embedded.ShapesSpec, index: int) -> list[dict[str, Any]]:
    return embedded.render(spec, SPLIT, index)[1]
