"""Sweeps for the numbers that the paper does not give, at a seed that no table uses.

A profile's hyper-parameters are tuned on plain ATSS only. The one other sweep that selects is for a
Gaussian's likelihood weight, which only that counterpart has and no baseline can supply. Sweeps are
declared in ``SWEEPS``, trained by ``gfl tune`` and published in ``results/tuning/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from experiments.matrix import Run
from experiments.named import GAUSSIAN, GFL, NO_QUALITY, PLAIN, QFL
from experiments.profiles import LAPTOP, TUNING_SEED
from experiments.tables import table4
from gfl.config import systems
from gfl.errors import UserError, did_you_mean
from gfl.experiment import AnyExperiment, Model, Profile, Schedule, System
from gfl.records.record import RunRecord, Store, run_id


@dataclass(frozen=True)
class Variant:
    """Profile with other values in its ``Schedule``, its ``Model`` or its own fields.

    A variant that is not eligible is never chosen: it is too slow for the profile, but shows
    whether the curve has flattened where the profile stops.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    eligible: bool = True
    experiment: AnyExperiment | None = None  # None: the sweep's own
    every: int = 1  # epochs between evaluations

    def of(self, profile: Profile) -> Profile:
        """Return this variant of the profile, evaluated as often as the sweep requires."""
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
        return replace(profile, **({"eval_interval": self.every} | changed))


AS_IT_IS = Variant("as it is")


def as_it_is(profile: Profile, variant: Variant) -> Profile:
    """Return the profile itself, evaluated as often as a variant."""
    return replace(AS_IT_IS, every=variant.every).of(profile)


@dataclass(frozen=True)
class Sweep:
    """One kind of number, varied on one row, and the text of its file.

    ``changes`` are those of every variant; of an experiment, an eligible variant may have another
    value of ``factor`` alone.

    Raises:
        ValueError: an eligible variant differs in more than the factor.
    """

    title: str  # with a placeholder for the profile's name
    on: str
    row: str  # what was trained afterwards: "a table", or the one row it applies to
    variants: tuple[Variant, ...]
    experiment: AnyExperiment = PLAIN  # with the chosen value
    factor: str = ""  # of the experiment: "likelihood_weight", "rate"
    changes: Mapping[str, Any] = field(default_factory=dict)  # to the profile
    suffix: str = ""  # of its file names
    left: str = ""  # what was not varied
    note: str = ""

    def __post_init__(self) -> None:
        for variant in self.variants:
            varied = {self.factor: getattr(self.of(variant), self.factor)} if self.factor else {}
            if variant.eligible and self.of(variant) != replace(self.experiment, **varied):
                what = f"only {self.factor}" if self.factor else "nothing of the experiment"
                raise ValueError(f"{variant.name}: {what} may be chosen")

    @property
    def name(self) -> str:
        """Return its name on the command line."""
        return self.suffix.removeprefix("-") or "profile"

    def of(self, variant: Variant) -> AnyExperiment:
        """Return the experiment that a variant trains."""
        return variant.experiment or self.experiment


def of_profile(*variants: Variant, note: str = "") -> Sweep:
    """Return the sweep of a profile's hyper-parameters."""
    return Sweep(
        note=note,
        title="How the `{profile}` profile's hyper-parameters were chosen",
        on="On plain ATSS alone (`Experiment()`)",
        row="a table",
        variants=variants,
        left="The others ({others}) were set by hand on trials of plain ATSS and not swept.",
    )


OF_LIKELIHOOD = Sweep(
    title="How the weight of Table 2a's Gaussian loss was chosen, at the `{profile}` profile",
    on="On that row itself, on ATSS: no other row has such a loss and the paper gives no weight, "
    "so plain ATSS cannot tell",
    note="This favours a counterpart of General and DFL, whose own weights are the paper's. Weight "
    "1 was tried at seed 0 before there was a sweep: classification was drowned, as here.",
    row="the row",
    variants=tuple(
        Variant(f"weight {name}", experiment=replace(GAUSSIAN, likelihood_weight=weight))
        for name, weight in (("1", 1.0), ("1/4", 1 / 4), ("1/16", 1 / 16), ("1/64", 1 / 64))
    ),
    experiment=GAUSSIAN,
    factor="likelihood_weight",
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
            ("centerness-branch", PLAIN),
            ("w/o quality branch", NO_QUALITY),
            ("joint w/ QFL", QFL),
            ("GFL", GFL),
        )
    ),
    suffix="-longer",
)
RATES = (0.001, 0.002, 0.004, 0.008)
# Where the best of RATES was at an end.
BEYOND = {"foveabox": 0.016, "fsaf": 0.016, "tridentnet": 0.016}
# In one epoch SAPD's second stage, at half of training, comes before its first has learnt anything.
WHOLE = ("sapd",)


def rates_of(method: str) -> list[float]:
    """Return the rates that are tried for a method of Table 4."""
    return sorted({*RATES, BEYOND.get(method, RATES[0])})


def of_rate(system: System) -> Sweep:
    """Return the sweep of the learning rate of one of Table 4's methods, on one of its rows."""
    title = systems.method_of(system).title
    rates = rates_of(system.method)
    is_whole = system.method in WHOLE
    length = "whole trainings" if is_whole else "one epoch with a whole cosine schedule"
    return Sweep(
        title=f"How {title}'s learning rate was chosen, at the `{{profile}}` profile",
        on=f"On {title} alone ({system.slug}), in {length}",
        row="the method",
        variants=tuple(Variant(f"lr {r:g}", experiment=replace(system, rate=r)) for r in rates),
        experiment=system,
        factor="rate",
        changes={} if is_whole else {"epochs": 1},
        suffix=f"-{system.method}",
        note="Every system of Table 4 but GFL has the best of its rates: "
        f"{', '.join(f'{rate:g}' for rate in RATES)}, and one beyond where the best of these is "
        "at an end. GFL has the rate that was chosen on plain ATSS (`laptop.md`), as in Tables "
        "1 to 3.",
    )


# One row a method: the first that Table 4 prints.
OF_SYSTEMS = tuple(
    of_rate(system)
    for system in {
        row.experiment.method: row.experiment
        for row in reversed(table4.TABLE.rows)
        if isinstance(row.experiment, System)
    }.values()
)
SWEEPS: dict[str, tuple[Sweep, ...]] = {
    "laptop": (
        of_profile(
            *(Variant(f"lr {lr:g}", {"lr": lr}) for lr in (*RATES, 0.016)),
            Variant("twice as long", LONGER, eligible=False),
        ),
        OF_LIKELIHOOD,
        OF_LENGTH,
        *OF_SYSTEMS,
    ),
    "photos": (
        of_profile(
            *(Variant(f"lr {lr:g}", {"lr": lr}, every=4) for lr in RATES),
            *(
                Variant(f"{name} (lr 0.004)", {"lr": 0.004} | changes, False, every=every)
                for name, changes, every in (
                    ("12 epochs", {"epochs": 12}, 3),
                    ("24 epochs", {"epochs": 24}, 6),
                    ("48 channels, 12 epochs", {"channels": 48, "epochs": 12}, 3),
                    ("strides 8 to 64, 12 epochs", {"first_level": 3, "epochs": 12}, 3),
                    ("MobileNetV2, 12 epochs", {"frozen": "mobilenet-v2", "epochs": 12}, 3),
                )
            ),
            note="What is shown, and why the profile has another value. Epochs: at the chosen rate "
            "the last quarter of them adds less than 0.5 AP. Channels: 32 make a run of minutes. "
            "Strides: those of 4 to 32 px make distances in strides as long as COCO's. Backbone: "
            "on MobileNetV2's features plain ATSS stays under 18 AP.",
        ),
    ),
}


@dataclass(frozen=True)
class Trial:
    """Variant, its run, and its record once there is one."""

    variant: Variant
    run: Run
    chosen: bool  # the profile, or the row, uses it
    record: RunRecord | None

    @property
    def ap(self) -> float | None:
        return self.record.metrics["AP"] if self.record and self.record.is_finished else None


def sweeps(profile: Profile, names: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """Return the sweeps declared for a profile, all or those of these names.

    Raises:
        UserError: there is none, or none of a name.
    """
    if (declared := SWEEPS.get(profile.name)) is None:
        raise UserError(
            f"no sweep is declared for profile {profile.name!r}{did_you_mean(profile.name, SWEEPS)}"
        )
    by_name = {sweep.name: sweep for sweep in declared}
    for name in names:
        if name not in by_name:
            guess = did_you_mean(name, by_name)
            known = ", ".join(by_name)
            raise UserError(f"no sweep {name!r} at {profile.name}{guess} ({known})")
    return tuple(by_name[name] for name in names) or declared


def trials(sweep: Sweep, profile: Profile, store: Store) -> list[Trial]:
    """Return a sweep's variants at a profile, each with its record."""
    found, base = [], common(sweep, profile)
    for variant in sweep.variants:
        varied, experiment = variant.of(base), sweep.of(variant)
        id = run_id(experiment, varied, TUNING_SEED)
        run = Run(id, experiment, varied, TUNING_SEED, (f"tuning/{variant.name}",))
        same = varied == as_it_is(base, variant)
        chosen = same and resolved(experiment, base) == resolved(sweep.experiment, base)
        found.append(Trial(variant, run, chosen, store.local(profile.name, id)))
    return found


def common(sweep: Sweep, profile: Profile) -> Profile:
    """Return the profile with the changes that all variants of a sweep share."""
    if not sweep.changes:
        return profile
    return replace(Variant("", sweep.changes).of(profile), eval_interval=profile.eval_interval)


def resolved(experiment: AnyExperiment, profile: Profile) -> AnyExperiment:
    """Return a system with the rate that it trains at."""
    if not isinstance(experiment, System):
        return experiment
    return replace(experiment, rate=systems.schedule_of(experiment, profile).lr)


def runs(profile: Profile, store: Store, names: Sequence[str] = ()) -> list[Run]:
    """Return the runs of a profile's sweeps, all or those of these names."""
    return [t.run for sweep in sweeps(profile, names) for t in trials(sweep, profile, store)]
