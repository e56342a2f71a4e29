"""Notes under a table: definitions of its numbers, their sources and their limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from analysis.stats.uncertainty import METHOD
from analysis.tables import fill
from analysis.tables.fill import Filled
from analysis.tables.ranking import CLEARLY, PAPERS_OWN, order, published
from experiments.profiles import REHEARSALS
from experiments.tables.declare import FPS, Table
from gfl.escape import counted, either
from gfl.experiment import Profile
from gfl.records.record import RunRecord

PAPERS_GPU = "RTX 2080 Ti"  # CUDA's name for it, after the vendor's
NOT_PAPERS = "†"  # after the name of a row that is not the paper's
LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"  # digits would read as powers: some rows are named 2 and 16


@dataclass
class Footnotes:
    """Assigns marks in the order in which notes first occur; a note has one mark."""

    _marks: dict[str, str] = field(default_factory=dict)

    def mark(self, note: str) -> str:
        """Return a note's mark, to follow a name; empty for an empty note."""
        if not note:
            return ""
        return self._marks.setdefault(note, LETTERS[len(self._marks)])

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return marks with their notes."""
        return tuple((mark, note) for note, mark in self._marks.items())


def notes(
    table: Table, profile: Profile, filled: Sequence[Filled], with_local: bool
) -> Iterator[str]:
    """Yield everything under the table except the footnotes, a paragraph each."""
    run = [cell for cell in filled if fill.is_run(table, profile, cell.cell)]
    if run and (data := not_cocos(profile)):
        areas = "APS, APM and APL go by the area of boxes, not of masks. " if profile.photos else ""
        read = "Compare the differences between rows with the paper's, not the levels."
        if profile.name in REHEARSALS:
            read = "A rehearsal: it shows that everything runs. So short a training learns nothing."
        yield f"{data} {areas}{read}"
    if run:
        yield from _definitions(table, run, with_local)
        yield from _orders(table, run, with_local)
    if table.note:
        yield table.note
    yield from _not_run(table, profile, filled)
    reference = [r for f in filled for r in f.reference.values()]
    local = [r for f in filled for r in f.local.values()] if with_local else []
    if table.anchor:
        yield _ratios(table, filled)
    if FPS in table.columns and (timed := _timed(reference, local)):
        yield timed
    if reference:
        yield f"Reference: {fill.made_by(reference)}."
    if local:
        yield f"Local runs: {fill.made_by(local)}."
    if with_local:
        yield from (remark for f in filled for remark in f.remarks)


def not_cocos(profile: Profile) -> str:
    """Name the data that a small profile uses in place of COCO; empty for COCO."""
    if profile.dataset is not None:
        return f"Not COCO: the embedded shapes data, at {profile.dataset.image_size} px."
    if (spec := profile.photos) is not None:
        return (
            f"Not COCO's protocol: {', '.join(spec.classes)} in {spec.val} photographs of val2017 "
            f"at {spec.size} px, on a frozen backbone ({profile.model.frozen})."
        )
    return ""


def _definitions(table: Table, run: Sequence[Filled], with_local: bool) -> Iterator[str]:
    """Define ± and ΔAP."""
    text = "n: seeds; ±: their standard deviation."
    pairs = [(cell, cell.base) for cell in run if cell.base]
    if pairs:
        yield f"{text} ΔAP: the difference to {_baselines(table, pairs)}; {METHOD}."
    else:
        yield text
    found = [cell.difference(source) for cell in run for source in fill.sources(with_local)]
    if any(f is not None and f.interval is None for f in found):
        yield (
            "A ΔAP without brackets comes from one seed: its interval is unknown, and so is "
            "whether another seed would show the same sign."
        )


def _baselines(table: Table, pairs: Sequence[tuple[Filled, Filled]]) -> str:
    if table.baseline is not None and all(b.cell.row.key == table.baseline for _, b in pairs):
        return f"the row {table.baseline!r}"
    named = dict.fromkeys((c.cell.row.key, b.cell.row.key) for c, b in pairs)
    return f"the row's own baseline ({', '.join(f'{row}: {base}' for row, base in named)})"


def _ratios(table: Table, filled: Sequence[Filled]) -> str:
    """Define the ratio of speeds."""
    said = f"FPS ratio: FPS over that of {table.anchor}; the paper's of the printed FPS"
    if not any(cell.speed for cell in filled):
        return f"{said}."
    return (
        f"{said}, the reference's of all systems timed side by side (gfl bench speed), not of the "
        "FPS beside it."
    )


def _orders(table: Table, run: Sequence[Filled], with_local: bool) -> Iterator[str]:
    """Rank the rows by AP beside the paper's ranking, by group: a line per source."""
    said = judged = False
    for group in table.groups:
        cells = [cell for cell in run if cell.cell.group == group]
        lines = []
        for source in fill.sources(with_local):
            found = order([(cell, cell.records(source)) for cell in cells])
            if found is not None:
                judged = judged or found.has_verdict
                lines.append(f"  {source}: {found.text}")
        if lines:
            said = True
            head = f"Rows by AP{f', {group.name}' if group.name else ''}:"
            yield "\n".join([head, f"  paper: {published(cells)}", *lines])
    if said:
        yield f"{CLEARLY} {PAPERS_OWN}" if judged else PAPERS_OWN


def _not_run(table: Table, profile: Profile, filled: Sequence[Filled]) -> Iterator[str]:
    """List, once, the rows with published numbers only, and the commands for those that can run."""
    declared = {f.cell.row.key for f in filled if f.cell.experiment is None}
    if declared:
        rows = counted(len(declared), "row is", "rows are")
        yield f"{rows} others' work: declared as published, not run here."
    waiting = [f.cell.row for f in filled if f.cell.experiment is not None]
    if waiting and table.profiles is not None and not table.runs_at(profile.name):
        papers = dict.fromkeys(row.key for row in waiting if not row.is_extra)
        extra = dict.fromkeys(row.key for row in waiting if row.is_extra)
        which = f"{counted(len(papers), 'row')} ({', '.join(papers)})"
        if len(papers) == len(table.rows):
            which = "Its rows"
        which += f" and {len(extra)} not in the paper ({', '.join(extra)})" if extra else ""
        number = table.name.removeprefix("table-")
        yield (
            f"{which} can be run, at the {either(table.profiles)} profile only: "
            f"make reproduce-table-{number} PROFILE={table.profiles[0]}"
        )


def _timed(reference: Sequence[RunRecord], local: Sequence[RunRecord]) -> str:
    """Describe the hardware of the FPS; a record does not show what else the machine did."""
    parts, machines = [], []
    for source, records in zip(fill.sources(with_local=True), (reference, local), strict=True):
        timed = [record for record in records if record.fps is not None]
        if timed:
            parts.append(f"{source} on {', '.join(sorted({_place(r) for r in timed}))}")
            machines += [_device(r) for r in timed]
    if not parts:
        return ""
    beside = ", maybe with other runs training beside it" if "cpu" in machines else ""
    apart = any(PAPERS_GPU not in machine for machine in machines)
    other = "; not comparable with the paper's GPU" if apart else ""
    return f"FPS: {'; '.join(parts)}{beside}{other}."


def _device(record: RunRecord) -> str:
    """Return ``cpu``, or a GPU's name."""
    return str(record.hardware.get("device", "cpu"))


def _place(record: RunRecord) -> str:
    """Return ``1 thread of AMD EPYC``, or a GPU's name."""
    device, cpu = _device(record), record.hardware.get("cpu", "?")
    if device != "cpu":
        return device
    if (threads := record.hardware.get("threads")) is None:
        return f"the CPU {cpu}, on an unrecorded number of threads"
    return f"{counted(threads, 'thread')} of {cpu}"
