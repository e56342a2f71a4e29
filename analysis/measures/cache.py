"""Measurements, made once for the same code and the same predictions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.measures.evidence import Evidence
from analysis.measures.quantities import QUANTITIES
from analysis.measures.quantity import Measurement, Quantity, Seen
from analysis.measures.speed import FILES
from analysis.stats.replicates import DRAW, FOLDER
from analysis.stats.uncertainty import RESAMPLES, Estimate
from gfl.files import sha256
from gfl.records.record import RecordError, digest, read_json, write_json
from gfl.training import worker

ROOT = Path(__file__).parents[2]
CODE = ("analysis", "experiments", "gfl")  # all of it: what a quantity depends on is no short list
TESTED: Mapping[str, type[Any]] = {"estimate": Estimate, "seen": Seen}


def measure(
    name: str, evidence: Evidence, quantities: Mapping[str, Quantity] | None = None
) -> Measurement:
    """Return a quantity of a profile's runs, as it was measured before if nothing changed.

    Names are unique over all the mappings of quantities that it is called with.

    Raises:
        UserError: its runs, or what they predicted, are not there.
    """
    path = evidence.once("measured before", lambda: _path(evidence))
    known = evidence.once("measurements", lambda: _read(path))
    if name not in known:
        known[name] = _plain((QUANTITIES if quantities is None else quantities)[name](evidence))
        with suppress(OSError):  # of a checkout that cannot be written
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, known, indent=None)
    return _measurement(known[name])


def _path(evidence: Evidence) -> Path:
    """A file for this code, these images and all that runs predicted for them."""
    folder = evidence.library.store.results / "benchmarks"
    code = [path for part in CODE for path in sorted((ROOT / part).rglob("*.py"))]
    everything = [
        [sha256(path) for path in (*code, *sorted(folder.glob(FILES)))],
        [version(package) for package in ("numpy", "scipy", "pandas", "pycocotools")],
        evidence.profile.name,
        digest(asdict(evidence.profile)),
        {
            record.id: evidence.library.checksums(record, evidence.profile)
            for runs in evidence.records.values()
            for record in runs.values()
        },
        [RESAMPLES, DRAW],
    ]
    return worker.EMBEDDED / FOLDER / f"measured-{digest(everything)[:32]}.json"


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, RecordError):
        return read_json(path)
    return {}


def _plain(found: Measurement) -> dict[str, Any]:
    content = asdict(found)
    kind = next((k for k, cls in TESTED.items() if isinstance(found.tested, cls)), None)
    return content | {"kind": kind}


def _measurement(content: Mapping[str, Any]) -> Measurement:
    """Make it again; a float is the same after JSON, a tuple is a list."""
    values = {key: _tuple(value) for key, value in content.items() if key != "kind"}
    if content["kind"] is not None:
        fields = {key: _tuple(value) for key, value in content["tested"].items()}
        values["tested"] = TESTED[content["kind"]](**fields)
    return Measurement(**values)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
