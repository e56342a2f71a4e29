"""A filled table as text: on the terminal, in Markdown, and as tidy CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis import tables
from analysis.tables import Figure, Filled, Records
from experiments.declare import FPS, Column, Group, Table
from gfl.experiment import Profile
from gfl.record import RunRecord

NONE = "—"


@dataclass(frozen=True)
class Line:
    """One printed line: a row of the paper, as one source has it."""

    row: str
    marks: tuple[str, ...]
    source: str
    seeds: str  # how many
    texts: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """From left to right, as ``Sheet.header`` names them."""
        return (self.row, *self.marks, self.source, self.seeds, *self.texts)


@dataclass(frozen=True)
class Sheet:
    """A table ready to print."""

    title: str
    header: tuple[str, ...]
    groups: tuple[tuple[Group, tuple[Line, ...]], ...]
    notes: tuple[str, ...]


def sheet(table: Table, profile: Profile, filled: Sequence[Filled], with_own: bool) -> Sheet:
    """Lay the table out: three lines a row, the paper's, the reference's and ours."""
    columns = [c.name for c in table.columns]
    if "AP" in columns:
        columns.insert(columns.index("AP") + 1, "ΔAP")
    groups = []
    for group in table.groups:
        cells = [f for f in filled if f.cell.group == group]
        groups.append(
            (group, tuple(line for f in cells for line in _lines(table, f, cells, with_own)))
        )
    return Sheet(
        title=f"{table.title}: {table.caption} ({profile.name} profile)",
        header=("", *table.mark_names, "", "n", *columns),
        groups=tuple(groups),
        notes=tuple(_notes(table, profile, filled, with_own)),
    )


def _lines(table: Table, filled: Filled, group: list[Filled], with_own: bool) -> Iterator[Line]:
    base = tables.baseline_of(group, table, filled.cell)
    is_base = filled.cell.row.name == table.baseline
    row = filled.cell.row
    yield Line(row.name, row.marks, "paper", "", tuple(_paper(table, filled, base)))
    sources = [("reference", filled.reference, base.reference)]
    if with_own:
        sources.append(("ours", filled.own, base.own))
    for name, records, base_records in sources:
        texts = []
        for column in table.columns:
            texts.append(_text(tables.figure(records, column.metric), column))
            if column.name == "AP":
                texts.append("" if is_base else _gain(tables.gain(records, base_records)))
        seeds = str(len(records)) if records else ""
        yield Line("", tuple("" for _ in row.marks), name, seeds, tuple(texts))


def _paper(table: Table, filled: Filled, base: Filled) -> Iterator[str]:
    for column in table.columns:
        value = filled.cell.published[column.name]
        yield NONE if value is None else f"{value:.{column.digits}f}"
        if column.name == "AP":
            other = base.cell.published["AP"]
            same = filled.cell.row.name == table.baseline
            yield "" if same or value is None or other is None else f"{value - other:+.1f}"


def _text(found: Figure | None, column: Column) -> str:
    if found is None:
        return NONE
    spread = "" if found.spread is None else f"±{found.spread:.{column.digits}f}"
    return f"{found.mean:.{column.digits}f}{spread}"


def _gain(found: Figure | None) -> str:
    if found is None:
        return NONE
    return f"{found.mean:+.1f}" + ("" if found.error is None else f"±{found.error:.1f}")


def _notes(
    table: Table, profile: Profile, filled: Sequence[Filled], with_own: bool
) -> Iterator[str]:
    if profile.dataset is not None:
        yield (
            f"Not COCO: the embedded shapes data, at {profile.dataset.image_size} px. "
            "Compare the differences between rows with the paper's, not the levels."
        )
    yield (
        "± after a figure is its standard deviation over n seeds. ΔAP is the difference to "
        f"the row {table.baseline!r}, seed by seed; ± after it is the standard error of its mean."
    )
    yield from filter(None, (table.note, *(f.cell.row.note for f in filled)))
    reference = [r for f in filled for r in f.reference.values()]
    own = [r for f in filled for r in f.own.values()] if with_own else []
    if FPS in table.columns and (timed := _timed(reference, own)):
        yield timed
    if reference:
        yield f"Reference: {tables.made_by(reference)}."
    if not with_own:
        return
    if own:
        yield f"Ours, this machine: {tables.made_by(own)}."
    yield from (remark for f in filled for remark in f.remarks)


def _timed(reference: Sequence[RunRecord], own: Sequence[RunRecord]) -> str:
    """On what FPS was measured; a record does not say what else the machine did."""
    parts = []
    for name, records in (("reference", reference), ("ours", own)):
        timed = [record for record in records if record.fps is not None]
        if places := sorted({_place(record) for record in timed}):
            parts.append(f"{name} on {', '.join(places)}")
    if not parts:
        return ""
    beside = ", maybe with other runs training beside it" if "thread" in "".join(parts) else ""
    return f"FPS: {'; '.join(parts)}{beside}; not comparable with the paper's GPU."


def _place(record: RunRecord) -> str:
    """``1 thread of AMD EPYC``, or a GPU's name."""
    device, cpu = record.hardware.get("device", "cpu"), record.hardware.get("cpu", "?")
    if device != "cpu":
        return str(device)
    if (threads := record.hardware.get("threads")) is None:
        return f"the CPU {cpu}, on an unrecorded number of threads"
    return f"{threads} thread{'s' if threads != 1 else ''} of {cpu}"


def markdown(made: Sheet, verdicts: Sequence[str]) -> str:
    """The table as a Markdown document."""
    parts = [f"# {made.title}\n"]
    for group, lines in made.groups:
        parts += [f"## {group.name}\n"] if group.name else []
        rule = [":-:" if name else ":--" for name in made.header]
        rows = [made.header, tuple(rule)]
        rows += [line.cells for line in lines]
        parts += ["".join(f"| {' | '.join(row)} |\n" for row in rows)]
    listed = [*made.notes, *(v.strip() for v in verdicts)]
    parts.append("".join(f"- {note}\n" for note in listed))
    return "\n".join(parts)


def tidy_csv(table: Table, filled: Sequence[Filled], with_own: bool) -> str:
    """One line a figure: what, where from, its value, spread and seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "group", "row", "column", "source", "value", "sd", "n", "seeds"])
    for cell in filled:
        where = [table.name, cell.cell.group.name, cell.cell.row.name]
        for name, value in cell.cell.published.items():
            writer.writerow([*where, name, "paper", "" if value is None else value, "", "", ""])
        base = tables.baseline_of(filled, table, cell.cell)
        sources = [("reference", cell.reference, base.reference)]
        sources += [("ours", cell.own, base.own)] if with_own else []
        for source, records, base_records in sources:
            for name, found in _figures(table, records, base_records):
                if found is not None:
                    seeds = " ".join(map(str, found.seeds))
                    spread = "" if found.spread is None else f"{found.spread:.4f}"
                    numbers = [f"{found.mean:.4f}", spread, len(found.seeds), seeds]
                    writer.writerow([*where, name, source, *numbers])
    return out.getvalue()


def _figures(table: Table, records: Records, base: Records) -> Iterator[tuple[str, Figure | None]]:
    for column in table.columns:
        yield column.name, tables.figure(records, column.metric)
    if records is not base:
        yield "ΔAP", tables.gain(records, base)
