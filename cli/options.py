"""Options shared by commands, defined by their parameters' types."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Parameter, Token

from cli.main import complain
from experiments import profiles
from experiments.profiles import PAPER_SCALE
from experiments.queue.machine import CHECKPOINT_MINUTES, Machine
from experiments.queue.slurm import cluster as settings
from experiments.queue.slurm.cluster import Cluster
from experiments.queue.worker import ROOT, Preempted, Terminated, WorkerError
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import Store
from gfl.terminal import say
from gfl.training.preemption import PREEMPTED

T = TypeVar("T")
Convert = Callable[[Any, Sequence[Token]], Any]

RUN = "a run's id, or table-3/QFL"
TARGET = "all, table-1 (or 1, table1), table-1a, table-3/QFL, an experiment, or a run's id"


def whole(token: Token, least: int) -> int:
    """Return a word as a whole number of at least ``least``.

    Raises:
        UserError: it is not one.
    """
    if not re.fullmatch(r"\d+", token.value) or int(token.value) < least:
        raise UserError(
            f"{token.keyword} {token.value!r}: expected a whole number, {least} or more"
        )
    return int(token.value)


def one(least: int) -> Convert:
    """Return a converter to a whole number of at least ``least``."""
    return lambda _, tokens: whole(tokens[0], least)


def several(least: int) -> Convert:
    """Return a converter to whole numbers of at least ``least``."""
    return lambda _, tokens: [whole(token, least) for token in tokens]


def number(expected: str, is_right: Callable[[float], bool]) -> Convert:
    """Return a converter to a number; ``expected`` describes valid ones in the error."""

    def convert(_: Any, tokens: Sequence[Token]) -> float:
        try:
            value = float(tokens[0].value)
        except ValueError:
            value = math.nan
        if not is_right(value):
            raise UserError(f"{tokens[0].keyword} {tokens[0].value!r}: expected {expected}")
        return value

    return convert


Flag = Annotated[bool, Parameter(show_default=False)]
Count = Annotated[int, Parameter(converter=one(1))]
MaybeCount = Annotated[int | None, Parameter(converter=one(1))]
Pixels = Annotated[tuple[int, int], Parameter(converter=several(32))]
Names = Annotated[list[str] | None, Parameter(consume_multiple=(1, None))]
Paths = Annotated[list[Path] | None, Parameter(consume_multiple=(1, None))]
Minutes = Annotated[
    float | None,
    Parameter(
        converter=number("minutes, above 0", lambda value: 0 < value < math.inf),
        show_default=False,
    ),
]
Json = Annotated[bool, Parameter(name="--json", show_default=False)]
Target = Annotated[str, Parameter(help=TARGET)]
ProfileName = Annotated[str, Parameter(help=", ".join(profiles.PROFILES))]
Device = Literal["auto", "cpu", "cuda"]
Source = Annotated[
    Literal["reference", "local"],
    Parameter(help="reference: the committed records in results/; local: the runs in runs/"),
]
SEEDS = (0,)
Seeds = Annotated[
    tuple[int, ...],
    Parameter(
        converter=several(0), consume_multiple=(1, None), show_default=False, help="(default: 0)"
    ),
]
# The training process, replaced in tests.
Worker = Annotated[Sequence[str], Parameter(parse=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where records lie."""

    runs: Annotated[Path | None, Parameter(show=False)] = None
    results: Annotated[Path | None, Parameter(show=False)] = None

    def store(self, mend: bool = True) -> Store:
        """Return the records' store; ``mend``: files of an interrupted process may be removed."""
        return Store(self.runs or _beside("runs"), self.results or _beside("results"), mend=mend)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where(Folders):
    """The profile that is meant, and where its records lie.

    Args:
        gpus: GPUs per run; coco's batch and learning rate follow it (the paper: 8)
    """

    profile: ProfileName = "laptop"
    gpus: Count = 1

    def found(self) -> Profile:
        """Return the profile.

        Raises:
            UserError: there is none of that name.
        """
        return profiles.get(self.profile, self.gpus)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PaperScale(Where):
    """The same, for what is COCO's alone."""

    profile: ProfileName = PAPER_SCALE


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of a command that trains.

    Args:
        jobs: runs at a time (default: one per core on embedded data and CPU, else one)
        data: COCO's folder, for the profiles coco and photos
        device: to train on
        checkpoint_minutes: minutes between checkpoints within an epoch (default: 10 at coco)
        again: train anew what other code or versions than today's have trained; the old is kept
        dry_run: only list what would be trained: nothing is drawn, trained or written
    """

    jobs: MaybeCount = None
    checkpoint_minutes: Minutes = None
    data: str | None = None
    device: Device = "auto"
    again: Flag = False
    dry_run: Flag = False

    def machine(self, where: Where, max_iters: int | None = None, nodes: int = 1) -> Machine:
        """Return the machine settings for the runs."""
        check_data(self.data, where.found())
        minutes = self.checkpoint_minutes
        if minutes is None and where.profile == PAPER_SCALE:
            minutes = CHECKPOINT_MINUTES
        return Machine(self.data, self.device, where.gpus, max_iters, self.jobs, minutes, nodes)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Execution:
    """Executor of the runs: this machine, or a Slurm cluster.

    Args:
        executor: slurm submits one job per run and returns; gfl status shows the jobs
        cluster: the cluster's settings (default: cluster.toml here, if there is one)
        partition: Slurm's; this and the next four replace what the settings say
        account: to charge
        time: limit of a job, after which it is requeued and goes on: 90, 12:00:00, 2-12:00:00
        nodes: of one run; they share its GPUs evenly
        constraint: features that the nodes must have
    """

    executor: Literal["local", "slurm"] = "local"
    cluster: Path | None = None
    partition: str | None = None
    account: str | None = None
    time: str | None = None
    nodes: MaybeCount = None
    constraint: str | None = None

    def settings(self, jobs: int | None) -> Cluster | None:
        """Return the cluster's settings, with at most ``jobs`` runs at a time; None: no Slurm.

        Raises:
            UserError: they are invalid, unsuitable together, or given although this machine
                trains.
        """
        named = {name: given for name, given in vars(self).items() if given is not None}
        named.pop("executor")
        if self.executor == "local":
            if named:
                raise UserError(f"--{next(iter(named))} is for --executor slurm")
            return None
        named.pop("cluster", None)
        found = settings.load(self.cluster, ROOT)
        values = {
            name: settings.convert(name, given, f"--{name} {given!r}")
            for name, given in named.items()
        }
        jobs_at_once = {} if jobs is None else {"parallel": jobs}
        return settings.check(replace(found, **values, **jobs_at_once))


def check_data(data: str | None, profile: Profile) -> None:
    """Reject a data folder for a profile that needs none.

    Raises:
        UserError: one is given.
    """
    if data and profile.dataset is not None:
        raise UserError(
            f"--data is for --profile coco and photos: {profile.name} draws its own images"
        )


def stoppable(work: Callable[[], T]) -> tuple[int, T | None]:
    """Train; return an exit code, and the result if training was neither stopped nor failed.

    Stopping it by any signal stops its workers, which on SIGTERM and SIGHUP store a checkpoint
    first, however many of these arrive meanwhile; running the command again resumes.
    """
    has_arrived = False

    def end(number: int, frame: object) -> None:
        nonlocal has_arrived
        already, has_arrived = has_arrived, True
        if not already:
            raise Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's setting is respected
            signal.signal(number, end)  # not SIG_IGN later: processes started then would inherit it
    try:
        return 0, work()
    except (KeyboardInterrupt, Preempted) as err:
        asked = not isinstance(err, KeyboardInterrupt) or isinstance(err, Terminated)
        # Ctrl-C is in a hurry; a machine that shuts down, or a cluster, allows half a minute.
        where = "where it stopped" if asked else "the last checkpoint"
        say(f"stopped; run the same command again to go on from {where}", error=True)
        return (PREEMPTED if isinstance(err, Preempted) else 130), None
    except WorkerError as err:
        complain(err)
        return 1, None


def _beside(name: str) -> Path:
    """Return a folder of the checkout, independent of the current folder."""
    path = ROOT / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
