"""Runs of a table, and those of them still missing locally."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.profiles import TUNING_SEED
from experiments.tables import catalogue
from experiments.tables.declare import Cell, Table
from gfl import escape
from gfl.errors import UserError, did_you_mean
from gfl.experiment import AnyExperiment, Profile, at_scale
from gfl.files import write_text
from gfl.records.record import RUN_ID, RunRecord, run_id
from gfl.terminal import say

WEIGHTS = (".pth", ".pt", ".ckpt")  # suffixes of weight files


@dataclass(frozen=True)
class Run:
    """A run, and the rows that print it."""

    id: str
    experiment: AnyExperiment
    profile: Profile
    seed: int
    rows: tuple[str, ...]  # "table-3/QFL"
    is_extra: bool = False  # no row of the paper prints it
    # Files that its folder needs before training, by name: the user's data in normal form.
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{escape.terminal(self.rows[0].partition('/')[2])}, seed {self.seed}"

    @property
    def command(self) -> str:
        """Command that trains it."""
        profile = self.profile
        data = "" if profile.dataset is not None else " --data DIR"
        if self.seed == TUNING_SEED:  # with the other variants of its sweep
            return f"gfl tune --profile {profile.name}{data}"
        gpus = f" --gpus {profile.gpus}" if profile.gpus > 1 else ""
        return f"gfl run {self.id} --profile {profile.name}{gpus}{data}"


def plan(tables: Iterable[Table], profile: Profile, seeds: Sequence[int]) -> list[Run]:
    """Return the runs of tables, each once, seed by seed.

    Raises:
        UserError: the seed is the one used for tuning hyper-parameters.
    """
    if TUNING_SEED in seeds:
        raise UserError(f"seed {TUNING_SEED} is for tuning: what was chosen on it proves nothing")
    run_here = [table for table in tables if table.runs_at(profile.name)]
    cells = [(table, cell) for table in run_here for cell in table.cells() if cell.experiment]
    # After the paper's rows, so that the paper's runs keep their names and come first.
    cells += [(table, cell) for table in run_here for cell in table.extra_cells()]
    runs: dict[str, Run] = {}
    for seed in dict.fromkeys(seeds):
        for table, cell in cells:
            assert cell.experiment is not None
            experiment = at_scale(cell.experiment, profile)
            id = run_id(experiment, profile, seed)
            new = Run(id, experiment, profile, seed, (), cell.row.is_extra)
            shared = runs.get(id, new)
            runs[id] = replace(shared, rows=(*shared.rows, f"{table.name}/{cell.key}"))
    return list(runs.values())


def select(target: str, profile: Profile, seeds: Sequence[int]) -> tuple[list[Table], list[Run]]:
    """Return the runs of a name, and the tables that print them.

    The name is ``all``, a table's, ``table/row``, an experiment's, or a run id.

    Raises:
        UserError: nothing of that name is declared.
    """
    name, _, row = target.partition("/")
    if target == "all" or (not row and catalogue.normal(target) in catalogue.NAMES):
        tables = catalogue.parts(target)
        return tables, plan(tables, profile, seeds)
    if catalogue.normal(name) not in catalogue.NAMES and is_path(target):
        raise UserError(path_problem(target))
    if row:
        return _select_row(catalogue.parts(name), row, profile, seeds)
    if match := RUN_ID.fullmatch(target):
        seeds = [int(match["seed"])]
    every = plan(catalogue.TABLES.values(), profile, seeds)
    runs = [run for run in every if target in (run.id, run.experiment.slug)]
    if not runs and match:
        raise UserError(_no_such_run(target, match["slug"], every, profile))
    if not runs:
        known = dict.fromkeys(["all", *catalogue.NAMES, *(run.experiment.slug for run in every)])
        what = "table" if target.lower().startswith("tab") else "table or run"
        raise UserError(f"unknown {what} {target!r}{did_you_mean(target, known)}")
    tables = [t for t in catalogue.TABLES.values() if any(_shows(r, t.name) for r in runs)]
    return tables, runs


def select_all(
    targets: Iterable[str], profile: Profile, seeds: Sequence[int]
) -> tuple[list[Table], list[Run]]:
    """Return the runs of several names, each once, and the tables that print them."""
    found = [select(target, profile, seeds) for target in targets]
    tables = {table.name: table for those, _ in found for table in those}
    runs = {run.id: run for _, those in found for run in those}
    return list(tables.values()), list(runs.values())


def single(target: str, profile: Profile, seeds: Sequence[int]) -> Run:
    """Return the one run of a name.

    Raises:
        UserError: no run of that name is declared or run at the profile, or several are.
    """
    tables, runs = select(target, profile, seeds)
    if not runs:
        none = f"{target!r} has published numbers only; there is nothing to run"
        raise UserError("; ".join(filter(None, (elsewhere(t, profile) for t in tables))) or none)
    if len(runs) > 1:
        several = [f"{run.rows[0]}, seed {run.seed}" for run in runs]
        if len({run.seed for run in runs}) == 1:
            several = [run.rows[0] for run in runs]
        raise UserError(f"{target!r} is {len(runs)} runs; name one: {escape.some(several)}")
    return runs[0]


def elsewhere(table: Table, profile: Profile) -> str:
    """Name the profiles that run a table's rows, if not this one; else empty."""
    if table.profiles is None or table.runs_at(profile.name):
        return ""
    return f"{table.title}: its rows are run at --profile {escape.either(table.profiles)} only"


def _select_row(
    among: Sequence[Table], row: str, profile: Profile, seeds: Sequence[int]
) -> tuple[list[Table], list[Run]]:
    tables = [t for t in among if any(row in _names(cell) for cell in t.all_cells())]
    if not tables:
        known = dict.fromkeys(n for t in among for cell in t.all_cells() for n in _names(cell))
        where = ", ".join(table.title for table in among)
        has = "has" if len(among) == 1 else "have"
        raise UserError(f"{where} {has} no row {row!r}{did_you_mean(row, known)}")
    runs = plan(tables, profile, seeds)
    return tables, [r for r in runs if any(_shows(r, f"{t.name}/{row}") for t in tables)]


def _names(cell: Cell) -> tuple[str, ...]:
    """Return the names of a cell: its row's, and its group's within it."""
    return (cell.row.key, cell.key) if cell.group.name else (cell.key,)


def _shows(run: Run, where: str) -> bool:
    return any(row == where or row.startswith(where + "/") for row in run.rows)


def _no_such_run(target: str, slug: str, runs: list[Run], profile: Profile) -> str:
    same = [run.id for run in runs if run.experiment.slug == slug]
    near = did_you_mean(target, [run.id for run in runs])
    if near.startswith("; known"):  # all known names, too many for a line
        near = "; gfl status lists them"
    hint = f"; its id is now {same[0]}" if same else near
    return f"no run {target!r} at the {profile.name} profile{hint}"


def is_path(target: str) -> bool:
    """Return whether a name that no table has looks like a file or folder."""
    first = target.partition("/")[0]
    return (
        target.startswith(("/", ".", "~"))
        or Path(target).suffix in WEIGHTS
        or ("/" in target and not (first and _is_like_table(first)))
    )


def _is_like_table(name: str) -> bool:
    return bool(difflib.get_close_matches(catalogue.normal(name), catalogue.NAMES, n=1))


def path_problem(target: str) -> str:
    """Explain why a file or folder is not a run."""
    path, said = Path(target).expanduser(), escape.terminal(target)
    if path.is_file():
        if path.with_name("request.json").is_file():
            folder = escape.terminal(str(path.parent))
            return f"{said} is a file of a run; its folder is {folder}"
        return (
            f"{said} is a file, not a run; third-party weights are named by --weights FILE "
            "--as ROW, in the commands evaluate and detect"
        )
    if (path / "request.json").is_file():
        return f"{said} is a run's folder: only detect takes it; here name the run's id"
    if path.is_dir():
        return f"{said} is a folder, but not a run's: it has no request.json"
    return f"no such file or folder: {said}{near(path)}"


def near(path: Path) -> str:
    """Suggest an existing file or folder close to a missing one."""
    there = next((parent for parent in path.parents if parent.is_dir()), None)
    if there is None:
        return ""
    wanted = path.relative_to(there).parts[0]
    try:
        found = difflib.get_close_matches(wanted, [p.name for p in there.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {escape.terminal(str(there / found[0]))}?" if found else ""


def is_finished(record: RunRecord | None) -> bool:
    return record is not None and record.is_finished


def write_all(files: Mapping[Path, str]) -> None:
    """Write files, and say which.

    Raises:
        UserError: a folder cannot be written.
    """
    check_writable(*dict.fromkeys(path.parent for path in files))
    say("written:", ", ".join(str(write_text(path, text)) for path, text in files.items()))


def check_writable(*folders: Path) -> None:
    """Check that each folder is writable before training starts.

    Raises:
        UserError: a file cannot be written there.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as err:
            raise UserError(f"{folder}: cannot write there ({err.strerror})") from err
