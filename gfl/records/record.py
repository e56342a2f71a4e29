"""Run identity, request, record and store."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gfl import config, escape
from gfl.errors import UserError
from gfl.experiment import AnyExperiment, Experiment, Profile
from gfl.files import sha256, write_text
from gfl.terminal import is_utf8, say

SCHEMA = 3
# Fields missing from records of older schemas, which still load.
LACKING = {1: {"predictions", "code"}, 2: {"code"}}
# COCO's twelve metrics, in pycocotools' order.
METRICS = (
    "AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL",
)  # fmt: skip
State = Literal["finished", "capped", "failed"]
T = TypeVar("T")
LOCAL_SUFFIX = (
    ".local"  # of files made from local runs, which git ignores; others are the reference's
)
RUN_ID = re.compile(r"(?P<slug>.+)-s(?P<seed>\d+)-(?P<digest>[0-9a-f]{8})")
# After so many epochs, evaluation included; or in the one after them, after so many iterations of
# the run.
CHECKPOINT = re.compile(r"epoch_(?P<epoch>\d+)(?:_iter_(?P<iter>\d+))?\.pth")


class RecordError(Exception):
    """Invalid record file; the message gives the reason."""


def run_id(experiment: AnyExperiment, profile: Profile, seed: int) -> str:
    """Name a run by everything that can change its result: ``<slug>-s<seed>-<8 hex digits>``."""
    # A table or a claim asks for the same ids over and over, and each takes milliseconds to make.
    # As text the values tell 1 from True, which are equal but have other digests.
    key = repr((experiment, profile, seed))
    if key not in _names:
        identity = digest(config.build(experiment, profile, seed))[:8]
        _names[key] = f"{experiment.slug}-s{seed}-{identity}"
    return _names[key]


_names: dict[str, str] = {}  # of the runs that this process has named


def digest(value: Any) -> str:
    """Return the SHA-256 of canonical JSON: sorted keys, and 1 the same as 1.0."""
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """Description and results of one run, written once; predictions are added later.

    ``experiment`` and ``profile`` are plain mappings of their values when the run was made: a
    record outlives the dataclasses it came from.
    """

    id: str
    experiment: Mapping[str, Any]
    profile: Mapping[str, Any]
    seed: int
    commit: str | None  # of the code; None outside a git checkout
    dirty: bool  # the code differed from that commit
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    metrics: Mapping[str, float | None]  # METRICS in percent; None if there is no such object
    fps: float | None  # images/s at batch 1, forward and NMS
    curve: Sequence[Mapping[str, Any]]  # iter, epoch, lr, loss and its parts
    evals: Sequence[Mapping[str, Any]]  # epoch, AP, AP50, AP75
    seconds: float
    images_per_second: float | None  # in training
    max_iters: int | None  # cap of a capped run
    state: State
    message: str  # reason of a failure
    started: str  # ISO 8601, UTC
    # SHA-256 of gfl.predictions' files, by name; {} until they exist. Figures use only these files.
    predictions: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(
        default_factory=dict
    )  # gfl.records.digests'; {} in older records
    schema: int = SCHEMA

    @property
    def is_finished(self) -> bool:
        """True if it has metrics: the run was neither capped nor did it fail."""
        return self.state == "finished"

    @property
    def start(self) -> datetime:
        return datetime.fromisoformat(self.started).astimezone(UTC)

    def save(self, path: Path) -> None:
        """Write the record atomically; NaN and infinity become null."""
        content = _plain({f.name: getattr(self, f.name) for f in fields(self)})
        write_json(path, content | {"sha256": digest(content)})

    @classmethod
    def load(cls, path: Path, verify: bool = True) -> RunRecord:
        """Read a record back; without ``verify``, accept one that does not match its checksum.

        Raises:
            FileNotFoundError: it is missing.
            RecordError: the file is not a complete and unchanged record.
        """
        content: dict[str, Any] = read_json(path)
        schema = content.get("schema")
        if schema != SCHEMA and (not isinstance(schema, int) or schema not in LACKING):
            raise RecordError(f"schema {schema!r}, this code reads {SCHEMA}")
        checksum = content.pop("sha256", None)
        if wrong := ({f.name for f in fields(cls)} - LACKING.get(schema, set())) ^ content.keys():
            raise RecordError(f"missing or unknown: {', '.join(sorted(wrong))}")
        if verify and checksum != digest(content):
            raise RecordError("its content does not match its checksum")
        content["schema"] = SCHEMA
        record = cls(**content)
        if record.is_finished and record.metrics.keys() != set(METRICS):
            raise RecordError("finished, but without the twelve COCO metrics")
        if record.is_finished and record.metrics["AP"] is None:
            raise RecordError("finished, but without an AP")
        return record


@dataclass(frozen=True)
class Request:
    """Input of ``python -m gfl.training.worker RUN_DIR``, read from ``RUN_DIR/request.json``."""

    id: str
    experiment: AnyExperiment
    profile: Profile
    seed: int
    data_root: str | None  # COCO's; None: the embedded data
    device: Literal["auto", "cpu", "cuda"]
    gpus: int
    max_iters: int | None
    commit: str | None
    dirty: bool
    predicts: bool = False  # store predictions when the training is over
    cores: int | None = None  # its share if several runs share the machine; None: all
    checkpoint_minutes: float | None = None  # between checkpoints; None: of epochs only
    # Digests of all code and package versions that have trained the run so far.
    code: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def save(self, run_dir: Path) -> None:
        """Write the request for the worker, which decodes file names as UTF-8.

        Raises:
            UserError: this process does not, so the worker would look for the data elsewhere.
        """
        if not (is_utf8() or (self.data_root or "").isascii()):
            raise UserError(
                f"{self.data_root}: this Python reads the names of files as "
                f"{sys.getfilesystemencoding()}; start it with PYTHONUTF8=1"
            )
        write_json(run_dir / "request.json", asdict(self))

    @classmethod
    def load(cls, run_dir: Path) -> Request:
        """Read a run's request.

        Raises:
            FileNotFoundError: it is missing.
            RecordError: it is not a request of this code.
        """
        try:
            return rebuild(cls, read_json(run_dir / "request.json"))
        except (KeyError, TypeError, ValueError) as err:
            raise RecordError(str(err)) from err


def _report(text: str) -> None:
    say(text, error=True)


@dataclass(frozen=True)
class Store:
    """Locations of records: local ones under ``runs``, the reference under ``results``."""

    runs: Path
    results: Path
    report: Callable[[str], None] = _report  # receives messages for the user about a record
    mend: bool = True  # set damaged records aside; False: write nothing
    verify: bool = True  # treat a checksum mismatch as damage; False: accept it
    _reported: set[Path] = field(default_factory=set, compare=False, repr=False)

    def run_dir(self, profile: str, id: str, max_iters: int | None = None) -> Path:
        """Return a run's folder; a capped one has its own, lest it be resumed into the full run."""
        return self.runs / profile / (id if max_iters is None else f"{id}-capped{max_iters}")

    def reference_path(self, profile: str, id: str) -> Path:
        return self.results / "runs" / profile / f"{id}.json"

    def reference_predictions(self, profile: str, id: str) -> Path:
        """Return the folder of a run's committed predictions, whether or not it exists.

        Once a promotion has replaced the record, and until it has renamed the folders, even if it
        was killed in between, the record's are the staged ones.
        """
        staged = self.staged_predictions(profile, id)
        if staged.is_dir() and self._are_of_reference(staged, profile, id):
            return staged
        return self.predictions_path(profile, id)

    def predictions_path(self, profile: str, id: str) -> Path:
        """Return the folder that holds a run's committed predictions between promotions."""
        return self.results / "predictions" / profile / id

    def staged_predictions(self, profile: str, id: str) -> Path:
        """Return the folder of predictions whose record is about to become the reference."""
        return self.results / "predictions" / profile / f".{id}.staged"

    def _are_of_reference(self, folder: Path, profile: str, id: str) -> bool:
        record = self.reference(profile, id)
        if record is None:
            return False
        try:
            checksums = {path.name: sha256(path) for path in folder.iterdir()}
        except FileNotFoundError:  # it has got its name meanwhile
            return False
        return bool(checksums) and checksums.items() <= record.predictions.items()

    def local(self, profile: str, id: str, max_iters: int | None = None) -> RunRecord | None:
        """Return the local record of a run; a damaged one is reported, set aside and missing."""
        path = self.run_dir(profile, id, max_iters) / "record.json"
        return self._read(path, id, set_aside=True)

    def reference(self, profile: str, id: str) -> RunRecord | None:
        """Return the committed record of a run; a damaged one is reported and missing."""
        return self._read(self.reference_path(profile, id), id, set_aside=False)

    def local_ids(self, profile: str) -> list[str]:
        """Return all runs, at any seed and settings, with a local record; no capped ones."""
        return _ids(p.parent.name for p in (self.runs / profile).glob("*/record.json"))

    def reference_ids(self, profile: str) -> list[str]:
        """Return all runs, at any seed and settings, with a committed record."""
        return _ids(p.stem for p in (self.results / "runs" / profile).glob("*.json"))

    def ids(self, profile: str, slug: str) -> set[str]:
        """Return all runs of one experiment with a record, local or in the reference."""
        found = {*self.local_ids(profile), *self.reference_ids(profile)}
        return {id for id in found if (m := RUN_ID.fullmatch(id)) and m["slug"] == slug}

    def epochs_done(self, run_dir: Path) -> int:
        """Return how many epochs the newest checkpoint in a run's folder has whole; 0 if none."""
        return max((epoch for epoch, _ in _checkpoints(run_dir)), default=0)

    def is_begun(self, run_dir: Path) -> bool:
        """Return whether a run's folder has a checkpoint to resume from, of any iteration."""
        return bool(_checkpoints(run_dir))

    def _read(self, path: Path, id: str, set_aside: bool) -> RunRecord | None:
        try:
            record = RunRecord.load(path, self.verify)
            if record.id != id:
                raise RecordError(f"it belongs to run {record.id}")
            return record
        except FileNotFoundError:
            return None
        except (RecordError, OSError) as err:
            reason = f"{path}: not a usable record ({err})"
            if set_aside and self.mend and not isinstance(err, OSError):
                aside = path.with_name(path.name + ".damaged")
                path.replace(aside)
                reason += f"; set aside as {aside.name}"
            if path not in self._reported:
                self._reported.add(path)
                self.report(f"{reason}; the run counts as missing")
            return None


def checkpoint_position(name: str) -> tuple[int, int] | None:
    """Return a checkpoint's epochs and, if it is in the midst of one, iterations; None: it is none.

    Later checkpoints have greater ones. Takes the names of its checksum and partial file, too.
    """
    match = CHECKPOINT.match(name.removeprefix("."))
    return match and (int(match["epoch"]), int(match["iter"] or 0))


def _checkpoints(run_dir: Path) -> list[tuple[int, int]]:
    names = (path.name for path in run_dir.glob("*.pth") if CHECKPOINT.fullmatch(path.name))
    return [found for name in names if (found := checkpoint_position(name))]


def seeds_of(ids: Iterable[str]) -> list[int]:
    """Return the seeds in the ids of runs, each once, in order."""
    return sorted({int(m["seed"]) for id in ids if (m := RUN_ID.fullmatch(id))})


def _ids(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if RUN_ID.fullmatch(name))


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write strict JSON atomically."""
    text = json.dumps(_plain(content), indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, escape.json(text) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read strict JSON whose outermost value is an object.

    Raises:
        FileNotFoundError: it is missing.
        RecordError: it is anything else.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as err:
        raise RecordError(f"not JSON: {err}") from err
    if not isinstance(content, dict):
        raise RecordError("not a JSON object")
    return content


def _plain(value: Any) -> Any:
    """Convert to JSON's types: numpy's and torch's scalars to numbers, NaN and infinity to null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rebuilt(cls: type[T], recorded: Mapping[str, Any]) -> T | None:
    """Rebuild a record's experiment or profile; None if it no longer exists in this form."""
    try:
        return _rebuilt(cls, recorded)
    except (KeyError, TypeError, ValueError, UserError):
        return None


def experiment_of(recorded: Mapping[str, Any]) -> AnyExperiment | None:
    """Rebuild a record's experiment or system; None if it no longer exists in this form."""
    either: Any = AnyExperiment  # two classes, told apart by their fields
    return rebuilt(either, recorded)


def rebuild(cls: type[T], content: Mapping[str, Any]) -> T:
    """Rebuild a dataclass, including nested ones and tuples, from ``asdict``'s JSON.

    Fields that did not exist at the time take their defaults.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, UserError: it has another form.
    """
    hints = get_type_hints(cls)
    if cls is Experiment and "n" in content:  # old records hold n (bins) instead of y_n (last bin)
        content = {"y_n": content["n"] * content.get("delta", 1.0), **content}
        content.pop("n")
    return cls(**{name: _rebuilt(hints.get(name), value) for name, value in content.items()})


def _rebuilt(hint: Any, value: Any) -> Any:
    """Rebuild a field's value by its annotation."""
    inner = get_args(hint)
    if isinstance(value, list) and inner:
        return tuple(_rebuilt(inner[0], one) for one in value)
    if not isinstance(value, dict):
        return value
    if get_origin(hint) is Mapping:
        return {key: _rebuilt(inner[1], one) for key, one in value.items()}
    kinds: list[Any] = [kind for kind in (hint, *inner) if is_dataclass(kind)]
    # A request's experiment has two kinds, told apart by their fields.
    kinds.sort(key=lambda kind: not value.keys() <= get_type_hints(kind).keys())
    return rebuild(kinds[0], value) if kinds else value
