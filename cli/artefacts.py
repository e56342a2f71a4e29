"""``gfl table|figure|errors|audit|report|register``: artefacts made from records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.tables import agreement, fill, render, staleness
from analysis.tables.layout import lay_out
from cli.main import complain
from cli.options import Flag, Folders, Names, Paths, Source, Where
from experiments import profiles
from experiments.matrix import write_all
from experiments.promote import other_gpus
from experiments.tables import catalogue
from experiments.tables.declare import EXTRA, Table
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, Store
from gfl.terminal import say


def table(
    name: str,
    /,
    *,
    store: Source = "reference",
    no_write: Flag = False,
    where: Where = Where(),
) -> int:
    """Print a table and write it as Markdown and CSV.

    Args:
        name: table-3 (or 3, table3), table-1 or its part 1a, all
        no_write: only print
    """
    profile = where.found()
    for one in catalogue.parts(name):
        _show(one, profile, where.store(), store == "local", not no_write)
    return 0


def show_tables(
    tables: Sequence[Table], profile: Profile, store: Store, *, local: bool, write: bool
) -> int:
    """Print tables; return 2 if any of them failed, else 0, after printing the others.

    ``local``: local runs beside the paper's numbers and the reference.
    """
    code = 0
    for one in tables:
        try:
            _show(one, profile, store, local, write)
        except UserError as err:
            complain(err)
            complain(UserError(f"{one.title} could not be printed"))
            code = 2
    return code


def _show(table: Table, profile: Profile, store: Store, local: bool, write: bool) -> None:
    from analysis.tables import terminal  # imports rich, slow and not needed for --help

    filled = fill.fill_all(table, profile, store)
    made = lay_out(table, profile, filled, local)
    verdicts = agreement.lines(filled) if local and made.has_sources else []
    changed = staleness.lines(filled, local) if made.has_sources else []
    terminal.show(made, [*verdicts, *changed, *_left_out(table, profile, filled, local)])
    records = any(f.local if local else f.reference for f in filled)
    if made.has_sources and not records and (elsewhere := other_gpus(profile, store)):
        say(elsewhere)
    if not (write and records):
        return
    folder = store.results / "tables" / profile.name
    # The local table's name is git-ignored: the committed one is the reference's.
    stem = table.name + (LOCAL_SUFFIX if local else "")
    files = {
        folder / f"{stem}.md": render.markdown(made, [*verdicts, *(changed if local else [])]),
        folder / f"{stem}.csv": render.tidy_csv(table, filled, local),
    }
    write_all(files)


def _left_out(
    table: Table, profile: Profile, filled: Sequence[fill.Filled], local: bool
) -> list[str]:
    """Name the additional rows that a table of the reference leaves out."""
    shown = fill.shown(filled, table, profile, local)
    rows = dict.fromkeys(f.cell.row.key for f in filled if f not in shown)
    if not rows:
        return []
    return [f"Declared in {EXTRA}, not in the reference, and so not shown: {', '.join(rows)}."]


def figure(
    name: str,
    /,
    *,
    store: Source = "reference",
    annotations: Paths = None,
    out: Path | None = None,
    data: Path | None = None,
    weights: Names = None,
    where: Where = Where(),
) -> int:
    """Draw a figure as PNG and PDF, with the numbers it plots as CSV.

    Args:
        name: 2b (or figure-2b, fig2b), 2 or its part, calibration, all
        annotations: draw from the boxes of COCO annotation files alone: figures 5c and 9
        out: a folder (default: results/figures/ and the profile's name)
        data: COCO's folder: with --profile photos, draw its photographs too, in files that git
            ignores
        weights: evaluated third-party weights instead of runs: their names in runs/weights/
    """
    from analysis.figures import command  # imports matplotlib, slow and not needed for --help

    profile, records = where.found(), where.store()
    if data and (weights or annotations):
        raise UserError("--data is for figures of runs: leave it out with --weights, --annotations")
    if weights:
        from analysis.errors.evaluations import COCO, FOLDER, Evaluations

        library = Evaluations.of(records, weights)
        folder = records.runs / FOLDER / "figures"
        return command.draw_from(name, COCO, library, out or folder)
    if annotations:
        return command.draw_annotations(name, annotations, records, out)
    return command.draw(name, profile, records, store == "local", out, data)


def errors(
    *,
    store: Source = "reference",
    annotations: Path | None = None,
    weights: Names = None,
    where: Where = Where(),
) -> int:
    """Sort detection errors by kind, as TIDE defines them.

    Args:
        annotations: the boxes that a profile without embedded data is evaluated against
        weights: evaluated third-party weights instead of runs: their names in runs/weights/
    """
    profile, records = where.found(), where.store()
    if weights:
        from analysis.errors import evaluations

        return evaluations.write_errors(weights, records, annotations)
    from analysis.errors import tables  # imports pandas, slow and not needed for --help

    return tables.write(profile, records, store == "local", annotations)


def report(*, store: Source = "reference", out: Path | None = None, where: Where = Where()) -> int:
    """Write everything as one HTML file to read.

    Args:
        out: a file (default: results/report/ and the profile's name, .html)
    """
    from analysis import report  # imports matplotlib, slow and not needed for --help

    path = report.write(where.found(), where.store(), store == "local", out)
    say(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def audit(
    claim: str | None = None,
    /,
    *,
    store: Source = "reference",
    strict: Flag = False,
    full: Flag = False,
    profile: str | None = None,
    data: Path | None = None,
    folders: Folders = Folders(),
) -> int:
    """Check the paper's claims, at every profile.

    Args:
        claim: print this one alone, with its evidence, from the last audit: beta-2-best
        strict: write nothing; name what is committed and not what the records give (exit code 1)
        full: with --strict: pycocotools evaluates every run again, instead of a tenth of them
        profile: accepted and without effect: every profile with records is audited
        data: COCO's folder, to check the matches of coco's runs against its ground truth
    """
    from analysis.audit import command  # imports pandas, slow and not needed for --help

    if profile is not None:
        profiles.get(profile)  # a misspelt name is an error here as everywhere
    if strict and store != "reference":
        raise UserError("--strict is about the committed results: it takes no --store local")
    if full and not strict:
        raise UserError("--full is how much --strict checks: gfl audit --strict --full")
    if claim is not None:
        if strict or data:
            raise UserError(f"{claim} alone is printed from the last audit: no --strict, no --data")
        return command.show_claim(claim, folders.store(mend=False), store)
    if strict:
        return command.audit_strictly(folders.store(mend=False), data, full)
    return command.audit(folders.store(), store, data)


def register(table: str | None = None, /, *, where: Where = Where()) -> int:
    """Pre-register how claims are interpreted at a profile, before its first run.

    Args:
        table: only the claims that its rows alone decide, where other tables have runs already
    """
    from analysis.claims import registration  # imports numpy and pandas, slow

    name = catalogue.find(table).name if table else ""
    path = registration.register(where.found(), where.store(), name)
    say(f"written: {path}; commit it before the first run")
    return 0
