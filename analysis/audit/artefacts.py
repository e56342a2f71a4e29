"""Audit of artefacts: each is regenerated from records and compared with the committed file.

Computed values may differ by another processor's rounding. Sweeps print the records' own numbers,
and ``published.csv`` the declared ones: these are identical everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.audit.findings import NOTHING, RECORDS, Finding, Line, compare
from analysis.audit.rounding import DOUBLES, FIGURES, FITS, variants
from analysis.library import Library
from analysis.pool import Reporter, kept_workers
from analysis.tables import fill as filling
from analysis.tables import render
from analysis.tables.layout import lay_out
from analysis.tables.tuning import committed
from experiments.tables import catalogue as declared
from experiments.tables.declare import Table
from gfl import escape
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, Store

if TYPE_CHECKING:
    from analysis.figures.figure import DrawnFigure

PUBLISHED = "published.csv"
CLAIMS = "claims.json"
DECLARATIONS = "experiments"
FITTED = ("figsimulation",)
PAPER, REFERENCE = "paper", "reference"  # the sources of a table's lines


def tables(profile: Profile, store: Store) -> Iterator[Finding]:
    """Compare every printed table of a profile, and report files that no table produces."""
    folder = store.results / "tables" / profile.name
    made: dict[Path, tuple[Sequence[str], Table]] = {}
    for table in declared.TABLES.values():
        filled = filling.fill_all(table, profile, store)
        if any(cell.reference for cell in filled):
            for kind, text in _printed(table, profile, filled).items():
                made[folder / f"{table.name}.{kind}"] = text, table
    yield from _strange(folder, {path.name for path in made})
    for path, (text, table) in made.items():
        yield from compare(path, text, origin=partial(_printed_by, table.name))


def _printed(
    table: Table, profile: Profile, filled: Sequence[filling.Filled]
) -> dict[str, Sequence[str]]:
    """Return a table's texts, by file suffix."""

    def markdown(cells: Sequence[filling.Filled]) -> str:
        return render.markdown(lay_out(table, profile, cells, False), [])

    def tidy(cells: Sequence[filling.Filled]) -> str:
        return render.tidy_csv(table, cells, False)

    return {kind: variants(f, filled, DOUBLES) for kind, f in (("md", markdown), ("csv", tidy))}


def published_csv() -> str:
    """Return every number that the paper prints in its tables, as declared."""
    rows: list[tuple[object, ...]] = [("table", "group", "row", "column", "value")]
    for table in declared.TABLES.values():
        for cell in table.cells():
            where = (table.name, cell.group.name, cell.row.key)
            for column, value in cell.published.items():
                rows.append((*where, column, "" if value is None else value))
    return escape.csv_file(rows)


def published(store: Store) -> Iterator[Finding]:
    """Compare the published numbers, including rows without a run, which no printed table has."""
    yield from compare(store.results / PUBLISHED, published_csv(), origin=_published_by)


def figures(profile: Profile, store: Store) -> Iterator[Finding]:
    """Compare the numbers of every figure of a profile with figures; report unknown files.

    Pictures are not compared, since they vary with font versions: the plotted numbers are.
    """
    folder = store.results / "figures" / profile.name
    if not folder.is_dir():
        return
    from analysis.figures import FIGURES  # imports matplotlib, slow

    stems = {f"fig{name}" for name in FIGURES}
    yield from _strange(folder, {f"{s}.{kind}" for s in stems for kind in ("csv", "pdf", "png")})
    with kept_workers(len(FIGURES), partial, _figure, profile, store) as each:
        for found in each(FIGURES):
            yield from found


def _figure(profile: Profile, store: Store, name: str) -> list[Finding]:
    """Compare the numbers of one figure, if it has some."""
    from analysis.figures import FIGURES  # imports matplotlib, slow

    path = store.results / "figures" / profile.name / f"fig{name}.csv"
    try:
        drawn = FIGURES[name].drawn(Library(store), profile)
    except UserError as err:
        lacks = Finding(path, "the file", "numbers", f"{NOTHING}: {err}")
        return [lacks] if path.exists() else []
    return list(numbers(path, drawn))


def numbers(path: Path, drawn: DrawnFigure) -> Iterator[Finding]:
    """Compare the numbers that a figure plots."""
    noise = FITS if path.stem in FITTED else FIGURES
    yield from compare(path, variants(lambda made: made.csv, drawn, noise))


def tuning(profile: Profile, store: Store) -> Iterator[Finding]:
    """Compare the reports of a profile's sweeps with the records committed beside them."""
    folder = store.results / "tuning"
    if not (folder / profile.name).is_dir():
        return
    for name, text in committed(profile, store).items():
        yield from compare(folder / name, text)


def errors(profile: Profile, store: Store) -> Iterator[Finding]:
    """Compare the detection errors by kind, where committed."""
    folder = store.results / "errors"
    if not folder.is_dir():
        return
    from analysis.errors import tables as error_tables
    from analysis.errors.runs import gather

    library = Library(store)
    path = folder / f"{profile.name}.md"
    try:
        report = gather(profile, library)
    except UserError as err:
        if path.exists() or profile.dataset is not None:
            yield Finding(path, "the file", "errors", f"{NOTHING}: {err}")
        return
    markdown = partial(error_tables.markdown, profile=profile)
    yield from compare(path, variants(markdown, report, DOUBLES))
    yield from compare(path.with_suffix(".csv"), variants(error_tables.tidy_csv, report, DOUBLES))


def claims(store: Store, report: Reporter) -> Iterator[Finding]:
    """Compare the verdicts on the paper's claims, from the runs of all profiles."""
    from analysis.claims import render
    from analysis.claims.verdicts import judge

    try:
        found = judge(store, report=report)
    except UserError as err:
        yield Finding(store.results / CLAIMS, "the file", "claims", f"{NOTHING}: {err}")
        return
    for name in render.files(found):
        texts = variants(lambda made, name=name: render.files(made)[name], found, DOUBLES)
        yield from compare(store.results / name, texts, origin=_claimed_by)


def _printed_by(table: str, line: Line) -> str:
    """Name the source of a line of a printed table: the declaration for the paper's numbers."""
    words = "".join(line.cells[:1]).lstrip(" -")
    if PAPER in line.cells or words.startswith(f"{PAPER}:"):
        return declaration(table)
    if words.startswith(f"{REFERENCE}:"):  # its ranking of rows, compared with the paper's
        return f"{RECORDS} and {declaration(table)}"
    return RECORDS


def _published_by(line: Line) -> str:
    return declaration("".join(line.cells[:1]))


def _claimed_by(line: Line) -> str:
    """Name the source of a line of the claims: all but our verdicts is declared."""
    if not line.is_named:  # in Markdown a line has both
        return f"{RECORDS} and {DECLARATIONS}"
    is_ours = ", ours" in line.place or line.place.startswith("profiles")
    return RECORDS if is_ours else DECLARATIONS


def declaration(table: str) -> str:
    """Return the file that declares a table's published numbers."""
    if table not in declared.TABLES:
        return f"{DECLARATIONS}/tables/catalogue.py"
    return f"{DECLARATIONS}/tables/table{table.removeprefix('table-')[:1]}.py"


def _strange(folder: Path, known: Iterable[str]) -> Iterator[Finding]:
    """Report files that nothing produces; local ones are not committed."""
    for path in sorted(folder.glob("*")):
        if path.name not in set(known) and f"{LOCAL_SUFFIX}." not in path.name:
            yield Finding(path, "the file", "is there", "nothing makes it")
