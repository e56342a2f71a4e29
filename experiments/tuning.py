"""The sweeps behind the numbers that the paper does not give, at a seed that no table uses.

A profile's hyper-parameters are tuned on plain ATSS alone. The one other sweep is of a weight that
a single counterpart has, a Gaussian's likelihood, so that no baseline can tell it. Sweeps are
declared in ``SWEEPS``, trained by ``python -m experiments tune`` and told in ``results/tuning/``.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.matrix import Run, check_writable
from experiments.profiles import LAPTOP, TUNING_SEED
from experiments.progress import duration
from experiments.table2 import GAUSSIAN
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Experiment, Model, Profile, Schedule
from gfl.files import write_text
from gfl.record import RunRecord, Store, run_id

BASELINE = Experiment()
# The fields that a sweep varies or leaves as they were set by hand, as a reader calls them.
LABELS = {
    "lr": "learning rate",
    "levels": "levels",
    "channels": "channels",
    "batch": "batch",
    "epochs": "epochs",
    "warmup_iters": "warm-up",
    "clip_grad": "clipping",
}
LIKELIHOOD = {"likelihood_weight": "the likelihood's weight"}
FIGURES = ("AP", "AP50", "AP75")
COLUMNS = (
    "variant", "changed", *FIGURES, "AP by epoch", "last loss", "seconds", "state", "commit",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A profile with other values of fields of its ``Schedule``, its ``Model`` or its own.

    A variant that is not eligible is shown and never chosen: it takes longer than a user has, and
    tells how flat the curve is where the profile stops.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    eligible: bool = True
    experiment: Experiment | None = None  # None: the sweep's own

    def of(self, profile: Profile) -> Profile:
        """Return the profile as this variant has it, evaluated after each epoch."""
        parts = {"schedule": Schedule, "model": Model}
        own = {f.name for f in fields(Profile)} - {"name", "dataset", *parts}
        changed = {name: value for name, value in self.changes.items() if name in own}
        for part, kind in parts.items():
            names = {f.name for f in fields(kind)} & self.changes.keys()
            values = {name: self.changes[name] for name in names}
            changed[part] = replace(getattr(profile, part), **values)
            own |= names
        if unknown := self.changes.keys() - own:
            raise ValueError(f"{self.name}: a profile has no {', '.join(sorted(unknown))}")
        return replace(profile, **({"eval_interval": 1} | changed))


AS_IT_IS = Variant("as it is")


@dataclass(frozen=True)
class Sweep:
    """What was tried of one kind of number, on what, and how its file tells it.

    Raises:
        ValueError: a variant that may be chosen differs in more than a Gaussian's weight.
    """

    title: str  # with the profile's name to be filled in
    on: str
    row: str  # what was trained after it: "a table", or the one row it is of
    variants: tuple[Variant, ...]
    experiment: Experiment = BASELINE  # as it was chosen
    suffix: str = ""  # of its files' names
    left: str = ""  # what was not varied
    note: str = ""

    def __post_init__(self) -> None:
        for variant in self.variants:
            weighted = replace(
                self.experiment, likelihood_weight=self.of(variant).likelihood_weight
            )
            if variant.eligible and self.of(variant) != weighted:
                raise ValueError(f"{variant.name}: only a Gaussian's weight may be chosen")

    def of(self, variant: Variant) -> Experiment:
        """The experiment that a variant trains."""
        return variant.experiment or self.experiment


def of_profile(*variants: Variant) -> Sweep:
    """The sweep of a profile's hyper-parameters."""
    return Sweep(
        title="How the `{profile}` profile's hyper-parameters were chosen",
        on="On plain ATSS alone (`Experiment()`)",
        row="a table",
        variants=variants,
        left="The others ({others}) were set by hand on trials of plain ATSS and not swept.",
    )


OF_LIKELIHOOD = Sweep(
    title="How the weight of Table 2a's Gaussian loss was chosen, at the `{profile}` profile",
    on="On that row itself, on ATSS: no other row has such a loss and the paper gives no weight, "
    "so plain ATSS cannot tell it",
    note="This favours a counterpart of General and DFL, whose own weights are the paper's. Weight "
    "1 was tried at seed 0 before there was a sweep: classification was drowned, as here.",
    row="the row",
    variants=tuple(
        Variant(f"weight {name}", experiment=replace(GAUSSIAN, likelihood_weight=weight))
        for name, weight in (("1", 1.0), ("1/4", 1 / 4), ("1/16", 1 / 16), ("1/64", 1 / 64))
    ),
    experiment=GAUSSIAN,
    suffix="-gaussian",
)
LONGER = {"epochs": 2 * LAPTOP.schedule.epochs}
OF_LENGTH = Sweep(
    title="What twice as long a training changes, at the `{profile}` profile",
    on="Plain ATSS, ATSS without quality prediction, QFL and GFL",
    note="Nothing is chosen here. In Table 1(a) QFL with Dirac boxes does not gain, and plain ATSS "
    "is not at the end of its curve when the profile stops: is it for want of training?",
    row="a table",
    variants=tuple(
        Variant(f"{name}, twice as long", LONGER, eligible=False, experiment=experiment)
        for name, experiment in (
            ("centerness-branch", BASELINE),
            ("w/o quality branch", Experiment(quality="none")),
            ("joint w/ QFL", Experiment(quality="joint")),
            ("GFL", Experiment(quality="joint", boxes="general", dfl=True)),
        )
    ),
    suffix="-longer",
)
SWEEPS: dict[str, tuple[Sweep, ...]] = {
    "laptop": (
        of_profile(
            *(Variant(f"lr {lr:g}", {"lr": lr}) for lr in (0.001, 0.002, 0.004, 0.008, 0.016)),
            Variant("twice as long", LONGER, eligible=False),
        ),
        OF_LIKELIHOOD,
        OF_LENGTH,
    )
}


@dataclass(frozen=True)
class Trial:
    """A variant, the run that tries it, and its record once there is one."""

    variant: Variant
    run: Run
    chosen: bool  # it is what the profile, or the row, has
    record: RunRecord | None

    @property
    def ap(self) -> float | None:
        finished = self.record is not None and self.record.state == "finished"
        return self.record.metrics["AP"] if self.record and finished else None


def sweeps(profile: Profile) -> tuple[Sweep, ...]:
    """The sweeps declared for a profile.

    Raises:
        UserError: there is none.
    """
    if (declared := SWEEPS.get(profile.name)) is None:
        raise UserError(
            f"no sweep is declared for profile {profile.name!r}{did_you_mean(profile.name, SWEEPS)}"
        )
    return declared


def trials(sweep: Sweep, profile: Profile, store: Store) -> list[Trial]:
    """A sweep's variants at a profile, each with its record."""
    found = []
    for variant in sweep.variants:
        varied, experiment = variant.of(profile), sweep.of(variant)
        id = run_id(experiment, varied, TUNING_SEED)
        run = Run(id, experiment, varied, TUNING_SEED, (f"tuning/{variant.name}",))
        chosen = varied == AS_IT_IS.of(profile) and experiment == sweep.experiment
        found.append(Trial(variant, run, chosen, store.own(profile.name, id)))
    return found


def runs(profile: Profile, store: Store) -> list[Run]:
    """The runs of every sweep of a profile."""
    return [t.run for sweep in sweeps(profile) for t in trials(sweep, profile, store)]


def publish(sweep: Sweep, profile: Profile, store: Store) -> list[Path]:
    """Write what the sweep found, and keep the records that a clean commit made.

    A sweep of which a part was made by other code has a name that git ignores.
    """
    folder = store.results / "tuning"
    check_writable(folder)
    found = trials(sweep, profile, store)
    clean = [t.record for t in found if t.record and t.record.commit and not t.record.dirty]
    for record in clean:
        record.save(folder / profile.name / f"{record.id}.json")
    stem = profile.name + sweep.suffix + ("" if len(clean) == len(found) else ".this-machine")
    lines = [_line(trial, profile) for trial in found]
    when = chronology(found, table_runs(sweep, profile, store), sweep.row)
    texts = {"md": markdown(sweep, profile, found, lines, when), "csv": _csv(lines)}
    return [write_text(folder / f"{stem}.{kind}", text) for kind, text in texts.items()]


def verdict(found: Sequence[Trial]) -> str:
    """One sentence: whether what the runs have is what the rule chooses."""
    tried = [trial for trial in found if trial.ap is not None]
    if len(tried) < len(found):
        words = f"{len(tried)} of {len(found)} variants have finished"
        failed = [t.variant.name for t in found if t.record and t.record.state == "failed"]
        words += f" ({', '.join(failed)} failed)" if failed else ""
        if any(trial.record is None for trial in found):
            return f"{words}: the sweep is not complete."
    else:
        words = f"{len(found)} variants have finished"
    if not any(trial.variant.eligible for trial in tried):
        return f"{words}."
    eligible = [trial for trial in tried if trial.variant.eligible]
    best = max(eligible, key=lambda trial: trial.ap or 0.0)
    among = "" if len(eligible) == len(tried) else " of those that may be chosen"
    words += f"; the highest AP{among} is that of {best.variant.name}"
    if best.chosen:
        return f"{words}, which is what the runs have."
    return f"{words}, and the runs have another: it is not what this sweep chooses."


def table_runs(sweep: Sweep, profile: Profile, store: Store) -> list[RunRecord]:
    """Every record that the sweep's outcome is for, of no sweep, here and in the reference."""
    records = [store.own(profile.name, id) for id in store.own_ids(profile.name)]
    records += [store.reference(profile.name, id) for id in store.reference_ids(profile.name)]
    shown = [record for record in records if record and record.seed != TUNING_SEED]
    if sweep.experiment == BASELINE:
        return shown
    return [record for record in shown if record.experiment["boxes"] == sweep.experiment.boxes]


def chronology(found: Sequence[Trial], shown: Sequence[RunRecord], row: str) -> str:
    """What the records say of whether the sweep came before the runs that the tables show."""
    trained = [trial.record for trial in found if trial.record]
    if not trained:
        return "No variant is recorded yet."
    starts = sorted(_start(record) for record in trained)
    said = f"The sweep's records were started between {starts[0]} and {starts[-1]}."
    if not shown:
        return f"{said} When this was written, no run of {row} was recorded at this profile."
    first = min(_start(record) for record in shown)
    said += f" The first recorded run of {row} was started at {first}: "
    eligible = [trial for trial in found if trial.variant.eligible]
    late = [
        trial.variant.name
        for trial in eligible
        if trial.record is None
        or _start(trial.record) + timedelta(seconds=trial.record.seconds) > first
    ]
    if late:
        return f"{said}NOT every eligible variant was trained before it ({', '.join(late)})."
    return f"{said}every eligible variant was trained before it."


def _start(record: RunRecord) -> datetime:
    return datetime.fromisoformat(record.started).astimezone(UTC)


def varied(sweep: Sweep) -> str:
    """Which hyper-parameters the sweep chose among, and which it did not."""
    swept = dict.fromkeys(n for v in sweep.variants if v.eligible for n in _changed(v))
    shown = dict.fromkeys(n for v in sweep.variants for n in _changed(v) if n not in swept)
    said = f"The sweep varied {_names(swept)}"
    said += f"; shown at another value, not to be chosen: {_names(shown)}" if shown else ""
    others = _names([name for name in LABELS if name not in swept])
    return f"{said}. {sweep.left.format(others=others)}".rstrip()


def _changed(variant: Variant) -> list[str]:
    weighted = variant.experiment is not None and variant.eligible
    return [*variant.changes, *(["likelihood_weight"] if weighted else [])]


def _names(fields: Iterable[str]) -> str:
    return ", ".join((LABELS | LIKELIHOOD).get(name, name) for name in fields)


def markdown(
    sweep: Sweep,
    profile: Profile,
    found: Sequence[Trial],
    lines: Sequence[Mapping[str, Any]],
    when: str,
) -> str:
    """Tell the sweep, its rule and its outcome."""
    rows = ["| " + " | ".join(_cell(name, line[name]) for name in COLUMNS) + " |" for line in lines]
    chosen = any(variant.eligible for variant in sweep.variants)
    rule = " The rule: the highest AP wins." if chosen else ""
    told = (verdict(found), varied(sweep), when) if chosen else (verdict(found),)
    outcome = (*([sweep.note] if sweep.note else []), *told)
    return "\n".join(
        [
            f"# {sweep.title.format(profile=profile.name)}",
            "",
            f"{sweep.on}, at seed {TUNING_SEED}, which no table uses.{rule}",
            "",
            *(line for each in outcome for line in (each, "")),
            "| " + " | ".join(COLUMNS) + " |",
            "|" + " --- |" * len(COLUMNS),
            *rows,
            "",
            "`changed` is what differs from the profile; the loss is the mean of the "
            "last tenth of the curve. Made by `make tune`.",
            "",
        ]
    )


def _line(trial: Trial, profile: Profile) -> dict[str, Any]:
    record = trial.record
    line: dict[str, Any] = dict.fromkeys(COLUMNS)
    line["variant"] = trial.variant.name
    changed = _changes(trial.run.profile, AS_IT_IS.of(profile)) or trial.variant.name
    changed += "" if trial.variant.eligible else " (shown, not to be chosen)"
    line["changed"] = "chosen" if trial.chosen else changed
    line["state"] = "missing" if record is None else record.state
    if record is None:
        return line
    line |= {name: record.metrics.get(name) for name in FIGURES}
    line["AP by epoch"] = "; ".join(f"{e['epoch']}: {_number(e['AP'])}" for e in record.evals)
    losses = [point["loss"] for point in record.curve[-(-len(record.curve) * 9 // 10) :]]
    line["last loss"] = statistics.mean(losses) if losses and None not in losses else None
    line["seconds"] = round(record.seconds)
    line["state"] += f": {record.message}" if record.message else ""
    line["commit"] = (record.commit or "none")[:8] + (" with changes" if record.dirty else "")
    return line


def _changes(varied: Profile, profile: Profile) -> str:
    """``lr 0.002 -> 0.001``, of every field that differs."""
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
        return "—"
    if name in FIGURES:
        return _number(value)
    if name == "last loss":
        return f"{value:.3f}"
    if name == "seconds":
        return duration(value)
    return f"**{value}**" if value == "chosen" else str(value)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([line[name] for name in COLUMNS] for line in lines)
    return text.getvalue()
