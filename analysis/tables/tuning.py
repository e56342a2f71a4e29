"""Report of a sweep in ``results/tuning/``: its rule, its outcome, and every variant."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from analysis import text
from analysis.tables import fill
from experiments.matrix import check_writable
from experiments.named import PLAIN
from experiments.profiles import TUNING_SEED
from experiments.queue.estimates import duration
from experiments.tuning import SWEEPS, Sweep, Trial, Variant, as_it_is, trials
from gfl import escape
from gfl.experiment import Profile, System
from gfl.files import write_text
from gfl.records.record import LOCAL_SUFFIX, RecordError, RunRecord, Store

# Readable names of the fields that a sweep varies or that were set by hand.
LABELS = {
    "lr": "learning rate",
    "levels": "levels",
    "channels": "channels",
    "batch": "batch",
    "epochs": "epochs",
    "warmup_iters": "warm-up",
    "clip_grad": "clipping",
}
# Fields that only some sweeps vary.
FURTHER = {
    "likelihood_weight": "the likelihood's weight",
    "rate": "the learning rate",
    "first_level": "the levels' strides",
    "frozen": "the backbone",
}
SHOWN = ("AP", "AP50", "AP75")
COLUMNS = (
    "variant", "changed", *SHOWN, "AP by epoch", "last loss", "seconds", "state", "commit",
)  # fmt: skip


def publish(sweep: Sweep, profile: Profile, store: Store) -> list[Path]:
    """Write a sweep's outcome, and keep the records made by a clean commit.

    A sweep partly made by other code gets a name that git ignores.
    """
    folder = store.results / "tuning"
    check_writable(folder)
    found = trials(sweep, profile, store)
    clean = [t.record for t in found if t.record and t.record.commit and not t.record.dirty]
    for record in clean:
        _keep(record, folder / profile.name / f"{record.id}.json")
    stem = profile.name + sweep.suffix + ("" if len(clean) == len(found) else LOCAL_SUFFIX)
    made = contents(sweep, profile, store)
    return [write_text(folder / f"{stem}.{kind}", content) for kind, content in made.items()]


class _Swept(Store):
    """Store whose local runs are the committed ones of the sweeps."""

    def local(self, profile: str, id: str, max_iters: int | None = None) -> RunRecord | None:
        path = self.results / "tuning" / profile / f"{id}.json"
        return self._read(path, id, set_aside=False)

    def local_ids(self, profile: str) -> list[str]:
        return []


def committed(profile: Profile, store: Store) -> dict[str, str]:
    """Return the files of the profile's sweeps, by name, from the committed records alone."""
    swept = _Swept(store.runs, store.results, store.report, store.mend, store.verify)
    return {
        f"{profile.name}{sweep.suffix}.{kind}": content
        for sweep in SWEEPS.get(profile.name, ())
        if any(trial.record for trial in trials(sweep, profile, swept))
        for kind, content in contents(sweep, profile, swept).items()
    }


def refresh(profile: Profile, store: Store) -> list[Path]:
    """Rewrite the files of sweeps that say something of the reference's runs; return these."""
    folder = store.results / "tuning"
    paths = {folder / name: content for name, content in committed(profile, store).items()}
    changed = {p: c for p, c in paths.items() if p.is_file() and p.read_text("utf-8") != c}
    return [write_text(path, content) for path, content in changed.items()]


def contents(sweep: Sweep, profile: Profile, store: Store) -> dict[str, str]:
    """Return the sweep's files: its outcome as Markdown and as CSV."""
    found = trials(sweep, profile, store)
    lines = [_line(trial, profile) for trial in found]
    when = chronology(found, table_runs(sweep, profile, store), sweep.row)
    csv = text.tidy_csv(COLUMNS, lines)
    return {"md": markdown(sweep, profile, found, lines, when), "csv": csv}


def _keep(record: RunRecord, path: Path) -> None:
    """Write a record unless it exists: one of an older schema stays unchanged."""
    with contextlib.suppress(FileNotFoundError, RecordError):
        if replace(RunRecord.load(path), schema=record.schema) == record:
            return
    record.save(path)


def verdict(found: Sequence[Trial]) -> str:
    """Return a sentence on whether the runs use the value that the rule chooses."""
    done = [trial for trial in found if trial.ap is not None]
    if len(done) < len(found):
        words = f"{len(done)} of {len(found)} variants have finished"
        failed = [t.variant.name for t in found if t.record and t.record.state == "failed"]
        words += f" ({', '.join(failed)} failed)" if failed else ""
        if any(trial.record is None for trial in found):
            return f"{words}: the sweep is not complete."
    else:
        words = f"{len(found)} variants have finished"
    if not any(trial.variant.eligible for trial in done):
        return f"{words}."
    eligible = [trial for trial in done if trial.variant.eligible]
    best = max(eligible, key=lambda trial: trial.ap or 0.0)
    among = "" if len(eligible) == len(done) else " of those that may be chosen"
    words += f"; the highest AP{among} is that of {best.variant.name}"
    if best.chosen:
        return f"{words}, which is what the runs have."
    return f"{words}, but the runs have another value."


def table_runs(sweep: Sweep, profile: Profile, store: Store) -> list[RunRecord]:
    """Return every record that uses the sweep's outcome, other than sweeps', from both places."""
    records = [store.local(profile.name, id) for id in store.local_ids(profile.name)]
    records += [store.reference(profile.name, id) for id in store.reference_ids(profile.name)]
    finished = [record for record in records if record and record.seed != TUNING_SEED]
    if sweep.experiment == PLAIN:
        return finished
    if isinstance(sweep.experiment, System):
        return [r for r in finished if r.experiment.get("method") == sweep.experiment.method]
    return [r for r in finished if r.experiment.get("boxes") == sweep.experiment.boxes]


def chronology(found: Sequence[Trial], recorded: Sequence[RunRecord], row: str) -> str:
    """State whether the sweep preceded the runs that the tables print, by the records."""
    trained = [trial.record for trial in found if trial.record]
    if not trained:
        return "No variant is recorded yet."
    starts = sorted(record.start for record in trained)
    said = f"The sweep's records were started between {starts[0]} and {starts[-1]}."
    if not recorded:
        return f"{said} When this was written, no run of {row} was recorded at this profile."
    first = min(record.start for record in recorded)
    said += f" The first recorded run of {row} was started at {first}: "
    eligible = [trial for trial in found if trial.variant.eligible]
    late = [
        trial.variant.name
        for trial in eligible
        if trial.record is None
        or trial.record.start + timedelta(seconds=trial.record.seconds) > first
    ]
    if late:
        return f"{said}NOT every eligible variant was trained before it ({', '.join(late)})."
    return f"{said}every eligible variant was trained before it."


def varied(sweep: Sweep) -> str:
    """Name the hyper-parameters that the sweep varied, and those it did not."""
    swept = dict.fromkeys(n for v in sweep.variants if v.eligible for n in _changed(v))
    others = dict.fromkeys(n for v in sweep.variants for n in _changed(v) if n not in swept)
    said = f"The sweep varied {_names(swept)}"
    said += f"; shown at another value, not to be chosen: {_names(others)}" if others else ""
    others = _names([name for name in LABELS if name not in swept])
    return f"{said}. {sweep.left.format(others=others)}".rstrip()


def _changed(variant: Variant) -> list[str]:
    if not variant.eligible or variant.experiment is None:
        return [*variant.changes]
    factor = "rate" if isinstance(variant.experiment, System) else "likelihood_weight"
    return [*variant.changes, factor]


def _names(fields: Iterable[str]) -> str:
    return ", ".join((LABELS | FURTHER).get(name, name) for name in fields)


def markdown(
    sweep: Sweep,
    profile: Profile,
    found: Sequence[Trial],
    lines: Sequence[Mapping[str, Any]],
    when: str,
) -> str:
    """Return the sweep, its rule and its outcome as Markdown."""
    rows = [COLUMNS, *([_cell(name, line[name]) for name in COLUMNS] for line in lines)]
    chosen = any(variant.eligible for variant in sweep.variants)
    rule = " The rule: the highest AP wins." if chosen else ""
    found_lines = (verdict(found), varied(sweep), when) if chosen else (verdict(found),)
    outcome = (*([sweep.note] if sweep.note else []), *found_lines)
    return "\n".join(
        [
            f"# {sweep.title.format(profile=profile.name)}",
            "",
            f"{sweep.on}, at seed {TUNING_SEED}, which no table uses.{rule}",
            "",
            *(line for each in outcome for line in (each, "")),
            text.table(rows, "-"),
            "`changed` is what differs from the profile; the loss is the mean of the "
            "last tenth of the curve. Made by `make tune`.",
            "",
        ]
    )


def _line(trial: Trial, profile: Profile) -> dict[str, Any]:
    record = trial.record
    line: dict[str, Any] = dict.fromkeys(COLUMNS)
    line["variant"] = trial.variant.name
    before = as_it_is(profile, trial.variant)
    changed = _changes(trial.run.profile, before) or trial.variant.name
    changed += "" if trial.variant.eligible else " (shown, not to be chosen)"
    line["changed"] = "chosen" if trial.chosen else changed
    line["state"] = "missing" if record is None else record.state
    if record is None:
        return line
    line |= {name: record.metrics.get(name) for name in SHOWN}
    line["AP by epoch"] = "; ".join(f"{e['epoch']}: {text.number(e['AP'])}" for e in record.evals)
    losses = [point["loss"] for point in record.curve[-(-len(record.curve) * 9 // 10) :]]
    line["last loss"] = statistics.mean(losses) if losses and None not in losses else None
    line["seconds"] = round(record.seconds)
    line["state"] += f": {record.message}" if record.message else ""
    line["commit"] = fill.commit(record, 8)
    return line


def _changes(varied: Profile, profile: Profile) -> str:
    """List the fields that differ: ``lr 0.002 -> 0.001``."""
    found = []
    for old, new in ((profile, varied), (profile.schedule, varied.schedule),
                     (profile.model, varied.model)):  # fmt: skip
        for f in fields(old):
            before, after = getattr(old, f.name), getattr(new, f.name)
            if before != after and f.name not in ("schedule", "model"):
                found.append(f"{f.name} {before} → {after}")
    return ", ".join(found)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return text.NONE
    if name in SHOWN:
        return text.number(value)
    if name == "last loss":
        return f"{value:.3f}"
    if name == "seconds":
        return duration(value)
    return f"**{value}**" if value == "chosen" else escape.markdown(str(value))
