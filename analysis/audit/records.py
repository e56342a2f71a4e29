"""Audit of records: their checksums, and their metrics against their detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from analysis.audit import evaluation
from analysis.audit.evaluation import Metrics, sample
from analysis.audit.findings import NOTHING, Finding
from analysis.library import Library
from analysis.pool import Reporter, workers
from experiments.matrix import plan
from experiments.profiles import TUNING_SEED
from experiments.tables import catalogue
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.files import sha256
from gfl.predictions.schema import (
    DETECTION_COLUMNS,
    DETECTIONS,
    MATCHES,
    OBJECTS,
    keeps_matches,
)
from gfl.records.record import METRICS, RecordError, RunRecord, Store, digest, read_json, seeds_of


def checksums(folder: Path, cells: Callable[[str], str] = lambda id: "") -> Iterator[Finding]:
    """Find records in a folder that changed after writing; ``cells`` names a record's cells.

    A checksum does not show which of a record's numbers was altered. ``evidence`` does.
    """
    for path in sorted(folder.glob("*.json")):
        place = "the record" + cells(path.stem)
        try:
            record = RunRecord.load(path)
        except (RecordError, OSError) as err:
            yield _unlike_its_checksum(path, place) or Finding(path, place, str(err), "a record")
        else:
            if record.id != path.stem:
                yield Finding(path, "id", record.id, path.stem)


def _unlike_its_checksum(path: Path, place: str) -> Finding | None:
    content = _content(path)
    checksum = content.pop("sha256", None)
    if not content or checksum == digest(content):
        return None
    return Finding(path, f"{place}, sha256", str(checksum), f"{digest(content)} of its content")


def standing_for(profile: Profile, store: Store) -> Callable[[str], str]:
    """Return a function from a run id to the table cells that the run supplies."""
    seeds = [s for s in seeds_of(store.reference_ids(profile.name)) if s != TUNING_SEED]
    cells = {run.id: run.rows for run in plan(catalogue.TABLES.values(), profile, seeds)}

    def said(id: str) -> str:
        return f" (of {'; '.join(cells[id])})" if id in cells else ""

    return said


def evidence(
    profile: Profile, store: Store, report: Reporter, full: bool = False
) -> Iterator[Finding]:
    """Recompute every record's twelve metrics from its committed detections.

    Each must equal the record's to the last digit, which exposes an altered one even if its
    checksum was renewed. pycocotools evaluates a sample, or with ``full`` all, and our own
    evaluator the others; for images that are not embedded it accumulates the matches.
    """
    decisive = MATCHES if keeps_matches(profile) else DETECTIONS
    cells = standing_for(profile, store)
    there: dict[str, list[tuple[str, Metrics]]] = {}
    for id in store.reference_ids(profile.name):
        content = _content(store.reference_path(profile.name, id))
        yield from _files(profile, id, content, store)
        if (store.reference_predictions(profile.name, id) / decisive).is_file() and content:
            there[id] = list(_said(content))
    yield from _stray(profile, store)
    found = _evaluated(profile, store, list(there), report, full) if there else {}
    for id, said in there.items():
        path, again = store.reference_path(profile.name, id), found[id]
        if isinstance(again, str):
            yield Finding(path, f"metrics{cells(id)}", "12 metrics", f"none: {again}")
            continue
        for place, metrics in said:
            for name in METRICS:
                if (was := metrics.get(name)) != again[name]:
                    yield Finding(path, f"{place}, {name}{cells(id)}", repr(was), repr(again[name]))


def _said(content: Mapping[str, Any]) -> Iterator[tuple[str, Metrics]]:
    """Yield the places where a record states the finished run's metrics, with their values."""
    yield "metrics", content.get("metrics") or {}
    epochs = content.get("profile", {}).get("schedule", {}).get("epochs")
    last = (content.get("evals") or [{}])[-1]
    if last.get("epoch") == epochs and last.keys() >= set(METRICS):
        yield f"evals, epoch {epochs}", last


def _files(
    profile: Profile, id: str, content: Mapping[str, Any], store: Store
) -> Iterator[Finding]:
    """Compare a run's committed predictions with the files that its record names."""
    folder = store.reference_predictions(profile.name, id)
    named: Mapping[str, str] = content.get("predictions") or {}
    needed = (MATCHES, OBJECTS) if keeps_matches(profile) else (DETECTIONS,)
    for name in sorted({*needed, *named, *(path.name for path in folder.glob("*"))}):
        path, checksum = folder / name, named.get(name, NOTHING)
        if path.is_file():
            if (found := sha256(path)) != checksum:
                yield Finding(path, "its SHA-256", found, checksum)
        elif name in needed:
            what = name.removesuffix(".parquet")
            yield Finding(path, "the file", NOTHING, f"the {what} of its run")


def _stray(profile: Profile, store: Store) -> Iterator[Finding]:
    """Report predictions of runs without a record."""
    ids = set(store.reference_ids(profile.name))
    for folder in sorted((store.results / "predictions" / profile.name).glob("*")):
        if folder.name not in ids:
            yield Finding(folder, "the folder", "predictions", "no record of this id")


def _evaluated(
    profile: Profile, store: Store, ids: Sequence[str], report: Reporter, full: bool
) -> dict[str, Metrics | str]:
    """Return the twelve metrics by id, or why there are none: several runs in parallel."""
    folders = [store.reference_predictions(profile.name, id) for id in ids]
    found: dict[str, Metrics | str] = {}
    dataset = None if keeps_matches(profile) else Library(store).dataset(profile)
    judged = set() if dataset is None else set(ids) if full else sample(ids)
    with workers(len(ids), _evaluation, dataset) as each:
        jobs = [(folder, id in judged) for id, folder in zip(ids, folders, strict=True)]
        for id, metrics in zip(ids, each(jobs), strict=True):
            found[id] = metrics
            if len(found) % 10 == 0 or len(found) == len(ids):
                report(f"{profile.name}: {len(found)} of {len(ids)} runs evaluated again")
    if dataset is not None:
        report(f"{profile.name}: {len(judged)} of {len(ids)} runs were evaluated by pycocotools")
    return found


def _evaluation(
    dataset: Mapping[str, Any] | None,
) -> Callable[[tuple[Path, bool]], Metrics | str]:
    """Return the evaluation of predictions on a data set; on None, where matches are stored."""
    return partial(_evaluate, dataset)


def _evaluate(dataset: Mapping[str, Any] | None, job: tuple[Path, bool]) -> Metrics | str:
    """Evaluate a folder's predictions, by pycocotools if asked to."""
    import pyarrow
    import pyarrow.parquet as pq

    from gfl.predictions import matches  # imports pycocotools, slow

    folder, by_pycocotools = job
    path = folder / (MATCHES if dataset is None else DETECTIONS)
    try:
        if dataset is None:
            return matches.read(folder).metrics()
        table = pq.read_table(path)
        columns = {name: table[name].to_numpy() for name in DETECTION_COLUMNS}
        return evaluation.metrics(dataset, columns, by_pycocotools)
    except (UserError, pyarrow.ArrowException, KeyError, OSError) as err:
        return f"{path} cannot be evaluated: {err}"


def _content(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (RecordError, OSError):
        return {}
