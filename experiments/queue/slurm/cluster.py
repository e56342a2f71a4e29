"""Settings of a cluster, from ``cluster.toml`` and the command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.queue import slurm_jobs
from gfl.errors import UserError, did_you_mean

FILE = "cluster.toml"
# Before a time limit a job stores a checkpoint, and asks to be requeued.
SECONDS_TO_STORE = 60  # at the very most: the job then ends without
SECONDS_TO_REQUEUE = slurm_jobs.SECONDS
LEAST_WARNING = SECONDS_TO_STORE + SECONDS_TO_REQUEUE
EARLY = 60  # s by which Slurm may send the signal before it is due, as sbatch's manual says
Option = str | int | bool

# Options of sbatch that submitit or this project sets itself.
TAKEN = {
    "account": "account",
    "array": "parallel",
    "chdir": "",
    "constraint": "constraint",
    "cpus-per-task": "cpus_per_process",
    "error": "",
    "gpus-per-node": "--gpus and nodes",
    "gres": "gres",
    "job-name": "",
    "mem": "memory",
    "nodes": "nodes",
    "ntasks-per-node": "",
    "open-mode": "",
    "output": "",
    "partition": "partition",
    "requeue": "",
    "signal": "warning_seconds",
    "time": "time",
}
OPTION = re.compile(r"[a-z][a-z0-9-]*")
TIME = re.compile(
    r"(?:(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?"
    r"|(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+)|(?P<only>\d+))"
)


@dataclass(frozen=True)
class Cluster:
    """Resources of a run's job, and how jobs are submitted; not part of a run's identity.

    None leaves it to the cluster's own default. ``cluster.example.toml`` explains each.
    """

    partition: str | None = None
    account: str | None = None
    time: int = 24 * 60  # minutes until a job is requeued, or ended after max_timeouts
    nodes: int = 1  # of one run
    constraint: str | None = None
    gres: str | None = None  # kind of a GPU, "gpu:a100"; None: --gpus-per-node
    cpus_per_process: int | None = None  # None: what the profile's processes and loaders use
    memory: str | None = None  # of a node: "64G"
    parallel: int = 256  # runs at a time
    warning_seconds: int = 90  # before the time limit, to store a checkpoint
    max_timeouts: int = 100  # times that a job is requeued after reaching its limit
    setup: tuple[str, ...] = ()  # lines of shell before the run
    sbatch: Mapping[str, Option] = field(default_factory=dict)  # further options of sbatch


def check(cluster: Cluster) -> Cluster:
    """Return the settings if a job has time to train before it is warned of its limit.

    Raises:
        UserError: it would be requeued before it has trained.
    """
    if 60 * cluster.time <= cluster.warning_seconds + EARLY:
        least = (cluster.warning_seconds + EARLY) // 60 + 1
        raise UserError(
            f"time = {cluster.time} (minutes): expected {least} or more, since a job is warned up "
            f"to {cluster.warning_seconds + EARLY} s before its end (warning_seconds = "
            f"{cluster.warning_seconds})"
        )
    return cluster


def minutes(text: str) -> int:
    """Return a time limit in Slurm's notation as minutes, rounded up.

    Raises:
        ValueError: it is not in this notation.
    """
    found = TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    part = {name: int(digits) for name, digits in found.groupdict(default="0").items()}
    hours = 24 * part["days"] + part["hours"] + part["h"]
    whole = 60 * hours + part["minutes"] + part["m"] + part["only"]
    return whole + (part["seconds"] + part["s"] > 0)


def load(path: Path | None, root: Path) -> Cluster:
    """Read a cluster's settings: of ``path``, or of ``cluster.toml`` at ``root`` if it exists.

    Raises:
        UserError: the file is missing or not TOML; a key is unknown or its value not of its type.
    """
    if path is None and not (root / FILE).exists():
        return Cluster()
    path = path or root / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}") from err
    except ValueError as err:  # neither TOML nor UTF-8
        raise UserError(f"{path}: not TOML: {err}") from err
    values = {key: _value(str(path), key, given) for key, given in content.items()}
    return Cluster(**values)


def convert(key: str, given: object, named: str) -> Any:
    """Return the value of a known key as its field's; ``named`` is how the user gave it.

    Raises:
        UserError: it is unsuitable.
    """
    expected, check = KEYS[key]
    try:
        return check(given)
    except ValueError:
        raise UserError(f"{named}: expected {expected}") from None


def _value(where: str, key: str, given: object) -> Any:
    if key not in KEYS:
        raise UserError(f"{where}: unknown key {key!r}{did_you_mean(key, KEYS)}")
    if key == "sbatch" and isinstance(given, Mapping):
        return {name: _option(where, name, one) for name, one in given.items()}
    return convert(key, given, f"{where}: {key} = {given!r}")


def _option(where: str, name: str, given: object) -> Option:
    """Return a further option of sbatch.

    Raises:
        UserError: a key of this file sets it, or its value is none of an option.
    """
    option = name.replace("_", "-")
    if option in TAKEN:
        instead = f"the key {TAKEN[option]} sets it" if TAKEN[option] else "gfl sets it"
        raise UserError(f"{where}: sbatch.{name}: {instead}")
    if not OPTION.fullmatch(option) or given is False or not isinstance(given, Option):
        raise UserError(f"{where}: sbatch.{name} = {given!r}: expected text, a number or true")
    if isinstance(given, str) and not given.isprintable():
        raise UserError(f"{where}: sbatch.{name} = {given!r}: expected one line of text")
    return given


def _text(given: object) -> str:
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise ValueError
    return given


def _whole(least: int) -> Callable[[object], int]:
    def convert(given: object) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or given < least:
            raise ValueError
        return given

    return convert


def _time(given: object) -> int:
    found = minutes(given) if isinstance(given, str) else _whole(1)(given)
    return _whole(1)(found)


def _lines(given: object) -> tuple[str, ...]:
    if not isinstance(given, list):
        raise ValueError
    return tuple(map(_text, given))


def _nothing(given: object) -> Any:
    raise ValueError


KEYS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "partition": ("text", _text),
    "account": ("text", _text),
    "time": ('minutes, or a time as "2-12:00:00"', _time),
    "nodes": ("a whole number, 1 or more", _whole(1)),
    "constraint": ("text", _text),
    "gres": ('text, such as "gpu:a100"', _text),
    "cpus_per_process": ("a whole number, 1 or more", _whole(1)),
    "memory": ('text, such as "64G"', _text),
    "parallel": ("a whole number, 1 or more", _whole(1)),
    "warning_seconds": (
        f"a whole number, {LEAST_WARNING} or more: {SECONDS_TO_STORE} s to store a checkpoint, "
        f"{SECONDS_TO_REQUEUE} to be requeued",
        _whole(LEAST_WARNING),
    ),
    "max_timeouts": ("a whole number, 0 or more", _whole(0)),
    "setup": ("a list of lines", _lines),
    "sbatch": ("a table of options", _nothing),
}
