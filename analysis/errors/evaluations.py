"""Evaluated third-party weights in place of runs: the source of errors, intervals and figures.

They are read from ``runs/weights/``, only by name, and never among the project's runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from analysis.errors import tables
from analysis.errors.runs import Report, line
from analysis.library import Library
from analysis.stats import resampling, uncertainty
from analysis.stats.uncertainty import Estimate
from analysis.text import table
from experiments import profiles
from experiments.matrix import Run, write_all
from experiments.profiles import PAPER_SCALE
from gfl import escape
from gfl.data.annotations import read
from gfl.data.coco import annotation_file
from gfl.errors import UserError, did_you_mean
from gfl.experiment import AnyExperiment, Profile
from gfl.files import sha256
from gfl.predictions.evaluation import FILE, FOLDER, KIND, SPLIT, Evaluation
from gfl.records.record import METRICS, RunRecord, Store, experiment_of
from gfl.terminal import say

SEED = 0  # of the runs of the same models
COCO = profiles.get(PAPER_SCALE)


@dataclass(frozen=True)
class Evaluations(Library):
    """Evaluations, each in place of the coco profile's run of the same model."""

    by_run: Mapping[str, Evaluation] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, names: Sequence[str]) -> Evaluations:
        """Read evaluations by their names or folders.

        Raises:
            UserError: one is missing or damaged, two share a row, or their data sets differ.
        """
        found: dict[str, Evaluation] = {}
        for name in names:
            one = Evaluation.load(_folder(store, name))
            if other := found.get(one.run):
                raise UserError(f"{other.name} and {one.name} are both of {one.row}: name one")
            found[one.run] = one
        if len({one.data for one in found.values()}) > 1:
            raise UserError(f"{', '.join(names)}: evaluated on different data")
        return cls(store, "local", by_run=found)

    def id(self, experiment: AnyExperiment, profile: Profile, seed: int = 0) -> str:
        """Return the evaluation's name, which marks it as third-party."""
        id = super().id(experiment, profile, seed)
        return self.by_run[id].name if id in self.by_run else id

    def _read(self, profile: str, id: str) -> RunRecord | None:
        one = self.by_run.get(id) if profile == COCO.name else None
        if one is None:
            return None
        return RunRecord(
            id=one.name, experiment=one.experiment, profile=asdict(COCO), seed=SEED,
            commit=None, dirty=True, versions=one.versions, hardware=one.hardware,
            metrics=one.metrics, fps=None, curve=[], evals=[], seconds=one.seconds,
            images_per_second=None, max_iters=None, state="finished", message=KIND,
            started=one.started, predictions=one.predictions,
        )  # fmt: skip

    def _ids(self, profile: str) -> list[str]:
        return sorted(self.by_run) if profile == COCO.name else []

    def _folder(self, profile: str, id: str) -> Path:
        return self.store.runs / FOLDER / id

    def _missing(
        self, untrained: list[Run], unpredicted: list[str], files: Sequence[str], profile: Profile
    ) -> str:
        lacking = ", ".join([*(run.id for run in untrained), *unpredicted])
        return f"none of the weights named is of {lacking}"


def _folder(store: Store, name: str) -> Path:
    """Return the folder of an evaluation."""
    where = store.runs / FOLDER
    if Path(name).name == name:
        if (where / name).is_dir():
            return where / name
        there: list[str] = []
        with contextlib.suppress(OSError):
            there = sorted(path.parent.name for path in where.glob(f"*/{FILE}"))
        if not there:
            raise UserError(f"no weights are evaluated in {where}: gfl evaluate")
        raise UserError(f"no weights {escape.terminal(name)} in {where}{did_you_mean(name, there)}")
    folder = Path(name).expanduser()
    if folder.resolve().parent != where.resolve():
        raise UserError(f"{escape.terminal(name)}: evaluated weights lie in {where}")
    return folder


def write_errors(names: Sequence[str], store: Store, annotations: Path | None = None) -> int:
    """Print the errors by kind of evaluated weights, and their metrics with intervals; exit code.

    ``annotations`` is the present location of the boxes they were evaluated against.

    Raises:
        UserError: an evaluation, its detections or those boxes are missing, or differ.
    """
    library = Evaluations.of(store, names)
    first = next(iter(library.by_run.values()))
    path = annotations or annotation_file(Path(first.data_root), SPLIT)
    library = replace(library, truth=_dataset(path, library))
    lines = []
    parts = ["# Third-party weights\n", f"{KIND[0].upper()}{KIND[1:]}.\n"]
    for one in library.by_run.values():
        if (experiment := experiment_of(one.experiment)) is None:
            raise UserError(f"{one.name}: evaluated as a row that this code does not have")
        found = line(experiment, [SEED], COCO, library)
        found.rows.append(f"{one.row} ({one.name})")
        lines.append(found)
        matches = library.matches(experiment, COCO)
        parts.append(_intervals(one, resampling.of_matches(matches).estimates()))
    report = Report(tuple(lines), ())
    text = "\n".join([*parts, tables.markdown(report, COCO)])
    say(text)
    folder = store.runs / FOLDER / first.name
    write_all({folder / "errors.md": text, folder / "errors.csv": tables.tidy_csv(report)})
    return 0


def _dataset(path: Path, library: Evaluations) -> dict:
    """Return the boxes of all evaluations, rejecting any others."""
    if not path.is_file():
        raise UserError(f"{path} is missing: --annotations names it where it is now")
    checksum = sha256(path)
    if any(one.annotations != checksum for one in library.by_run.values()):
        raise UserError(f"{path} is not what these weights were evaluated against")
    return read(path)


def _intervals(one: Evaluation, found: Mapping[str, Estimate]) -> str:
    head = (
        f"{one.row} with {escape.markdown(one.file)} (SHA-256 {one.weights[:12]}...), on "
        f"{escape.counted(one.images, 'image')}: each metric with its 95 % interval, which the "
        f"images give it alone ({uncertainty.RESAMPLES} bootstrap samples of them).\n"
    )
    rows = [("", "metric", "95 % interval")]
    for metric in METRICS:
        if metric in found:
            low, high = (min(max(b, 0.0), 100.0) for b in (found[metric].low, found[metric].high))
            rows.append((metric, f"{found[metric].value:.1f}", f"{low:.1f} to {high:.1f}"))
    return f"{head}\n{table(rows, 'lrc')}"
