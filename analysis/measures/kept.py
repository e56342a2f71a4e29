"""Quantities by name, measured once: the cache knows code, predictions and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from analysis import cache
from analysis.measures import distributions, errors, labels, scores, speed  # noqa: F401  declare
from analysis.measures.evidence import Evidence
from analysis.measures.quantity import QUANTITIES, Measurement, Quantity, Seen
from analysis.stats.uncertainty import Estimate
from gfl.errors import UserError, did_you_mean
from gfl.records.record import METRICS, digest

TESTED: Mapping[str, type[Any]] = {"estimate": Estimate, "seen": Seen}


def find(name: str) -> Quantity:
    """Return the quantity of a name.

    Raises:
        KeyError: there is none; suggests the nearest.
    """
    if name not in QUANTITIES:
        raise KeyError(f"no quantity {name!r}{did_you_mean(name, QUANTITIES)}")
    return QUANTITIES[name]


def measure(quantity: Quantity, evidence: Evidence) -> Measurement:
    """Return a quantity of a profile's runs, from the cache if nothing changed.

    Additional runs of experiments outside the quantity do not invalidate it.

    Raises:
        UserError: its runs, or their predictions, are missing.
    """
    entry = cache.entry(f"{quantity.name}.json", _inputs(quantity, evidence), quantity.module)
    if (known := entry.json()) is not None:
        return _measurement(known)
    found = quantity.measure(evidence)
    entry.keep_json(_plain(found))
    return found


def _inputs(quantity: Quantity, evidence: Evidence) -> list[Any]:
    """Return a measurement's dependencies besides code: data, predictions and its own inputs."""
    runs = [
        _predictions(evidence, experiment, seed)
        for experiment in quantity.experiments
        for seed in sorted(evidence.records.get(experiment, ()))
    ]
    profile = evidence.once("profile's digest", lambda: digest(asdict(evidence.profile)))
    images = _images(evidence) if quantity.experiments else None
    return [evidence.profile.name, profile, images, METRICS, runs, quantity.inputs(evidence)]


def _predictions(evidence: Evidence, experiment: Any, seed: int) -> Any:
    """Return a run's id and the checksums of its predictions."""
    record = evidence.record(experiment, seed)
    checksums = evidence.once(
        ("checksums", record.id), lambda: evidence.library.checksums(record, evidence.profile)
    )
    return [record.id, checksums]


def _images(evidence: Evidence) -> str | None:
    """Return a digest of the images and their given ground truth; None if they are unknown."""
    with suppress(UserError):
        return evidence.once(
            "images' digest",
            lambda: digest([evidence.images.tolist(), evidence.library.truth]),
        )
    return None


def _plain(found: Measurement) -> dict[str, Any]:
    content = asdict(found)
    kind = next((k for k, cls in TESTED.items() if isinstance(found.tested, cls)), None)
    return content | {"kind": kind}


def _measurement(content: Mapping[str, Any]) -> Measurement:
    """Rebuild a measurement; a float survives JSON, a tuple becomes a list."""
    values = {key: _tuple(value) for key, value in content.items() if key != "kind"}
    if content["kind"] is not None:
        fields = {key: _tuple(value) for key, value in content["tested"].items()}
        values["tested"] = TESTED[content["kind"]](**fields)
    return Measurement(**values)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
