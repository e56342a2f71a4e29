import csv
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from analysis.tables import fill as filled
from analysis.tables.tuning import chronology, table_runs, varied, verdict
from cli.main import main
from experiments import profiles
from experiments.matrix import plan
from experiments.profiles import TUNING_SEED
from experiments.promote import promote
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from experiments.tuning import (
    AS_IT_IS,
    OF_LENGTH,
    OF_LIKELIHOOD,
    SWEEPS,
    Sweep,
    Trial,
    Variant,
    as_it_is,
    common,
    of_profile,
    resolved,
    runs,
    sweeps,
)
from experiments.tuning import trials as trials_of
from gfl.errors import UserError
from gfl.experiment import Experiment, Profile, System
from gfl.records.record import Request, RunRecord, Store

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
SMOKE = profiles.get("smoke")
Cli = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    sweep = of_profile(
        Variant("slow", {"lr": 5e-4}),
        Variant("as it is"),
        Variant("wide", {"channels": 32, "lr": 2e-3}),
    )
    monkeypatch.setitem(SWEEPS, "smoke", (sweep,))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Store(tmp_path / "runs", tmp_path / "results")


@pytest.fixture
def tune(store: Store) -> Cli:
    folders = ["--runs", str(store.runs), "--results", str(store.results)]

    def call(*words: str) -> int:
        words = ("tune", "--profile", "smoke", *folders, *words)
        return main(words, worker=[sys.executable, str(FAKE_WORKER)])

    return call


def trials(profile: Profile, store: Store) -> list[Trial]:
    (sweep,) = sweeps(profile)
    return trials_of(sweep, profile, store)


DECLARED = [
    pytest.param(name, sweep, id=name + sweep.suffix)
    for name, found in SWEEPS.items()
    for sweep in found
]


@pytest.mark.parametrize(("name", "sweep"), DECLARED)
def test_a_declared_sweep_has_what_the_runs_have_once_and_no_variant_twice(
    name: str, sweep: Sweep
) -> None:
    profile = profiles.get(name)
    base = common(sweep, profile)
    varied = [(resolved(sweep.of(variant), base), variant.of(base)) for variant in sweep.variants]
    chooses = any(variant.eligible for variant in sweep.variants)
    # What may be chosen among is evaluated equally often; what is only shown may be longer.
    compared = [v for v in sweep.variants if v.eligible] or sweep.variants
    own = as_it_is(base, compared[0])
    assert len({variant.every for variant in compared}) == 1
    assert varied.count((resolved(sweep.experiment, base), own)) == chooses
    assert len(set(varied)) == len(varied)
    assert len({variant.name for variant in sweep.variants}) == len(varied)


def test_nothing_of_the_papers_own_can_be_tuned() -> None:
    """What may be chosen: plain ATSS's; a counterpart's own loss's weight; other systems' rates."""
    chosen_on = [
        sweep.experiment
        for found in SWEEPS.values()
        for sweep in found
        if any(variant.eligible for variant in sweep.variants)
        and not isinstance(sweep.experiment, System)
    ]
    assert chosen_on == [Experiment(), OF_LIKELIHOOD.experiment, Experiment()]
    for variant in OF_LIKELIHOOD.variants:
        assert variant.of(profiles.LAPTOP) == AS_IT_IS.of(profiles.LAPTOP)
        factors = asdict(OF_LIKELIHOOD.of(variant)) | {"likelihood_weight": 0}
        assert factors == asdict(Experiment(boxes="gaussian")) | {"likelihood_weight": 0}
    qfl = Variant("QFL", experiment=Experiment(quality="joint"))
    with pytest.raises(ValueError, match="QFL: nothing of the experiment may be chosen"):
        of_profile(qfl)
    assert of_profile(replace(qfl, eligible=False)).of(qfl).quality == "joint"


def test_a_sweep_that_chooses_nothing_has_no_rule(
    store: Store, tune: Cli, clean_commit: str
) -> None:
    variants = (Variant("long", {"epochs": 3}, eligible=False),)
    SWEEPS["smoke"] = (replace(OF_LENGTH, variants=variants),)  # undone with the store's own
    assert tune() == 0
    text = (store.results / "tuning/smoke-longer.md").read_text()
    assert f"which no table uses.\n\n{OF_LENGTH.note}\n\n1 variants have finished." in text
    assert "The rule" not in text


def test_the_row_of_the_gaussian_has_the_swept_weight() -> None:
    rows = [cell.experiment for cell in catalogue.find("table-2a").cells()]
    assert [each for each in rows if each and each.boxes == "gaussian"] == [
        replace(OF_LIKELIHOOD.experiment, host=host) for host in ("fcos", "atss")
    ]


def test_a_variant_changes_what_it_names_and_nothing_else() -> None:
    variant = Variant("x", {"lr": 5.0, "channels": 7, "eval_interval": 1})
    assert variant.of(SMOKE) == replace(
        SMOKE,
        schedule=replace(SMOKE.schedule, lr=5.0),
        model=replace(SMOKE.model, channels=7),
        eval_interval=1,
    )
    with pytest.raises(ValueError, match="a profile has no quality"):
        Variant("x", {"quality": "joint"}).of(SMOKE)
    with pytest.raises(ValueError, match="a profile has no name"):
        Variant("x", {"name": "other"}).of(SMOKE)


def test_a_sweep_is_of_the_baseline_at_its_own_seed(store: Store, tune: Cli) -> None:
    assert tune("--jobs", "3") == 0
    requests = [Request.load(path.parent) for path in store.runs.glob("*/*/request.json")]
    assert len(requests) == 3
    assert {request.experiment for request in requests} == {Experiment()}
    assert {request.seed for request in requests} == {TUNING_SEED}


def test_a_sweep_is_told_and_its_records_kept(
    store: Store, tune: Cli, monkeypatch: pytest.MonkeyPatch, clean_commit: str,
    capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("FAKE", "learn")
    assert tune() == 0
    out = capfd.readouterr().out
    assert "the highest AP is that of wide, but the runs have another value" in out
    folder = store.results / "tuning"
    text = (folder / "smoke.md").read_text()
    ap = 30 + len(Experiment().slug) / 10 + TUNING_SEED
    assert f"| as it is | **chosen** | {ap + 1:.1f} |" in text
    assert f"| slow | lr 0.001 → 0.0005 | {ap + 0.5:.1f} |" in text
    assert "| wide | lr 0.001 → 0.002, channels 16 → 32 |" in text
    assert f"| 4: {ap + 1:.1f} |" in text
    assert f"| finished | {clean_commit[:8]} |" in text
    with (folder / "smoke.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["slow", "as it is", "wide"]
    kept = {RunRecord.load(path).id for path in (folder / "smoke").glob("*.json")}
    assert kept == {trial.run.id for trial in trials(SMOKE, store)}
    written = {path: path.stat().st_mtime_ns for path in (folder / "smoke").iterdir()}
    assert tune() == 0  # trained once
    assert (folder / "smoke.md").read_text() == text
    assert {path: path.stat().st_mtime_ns for path in (folder / "smoke").iterdir()} == written


def test_a_sweep_of_changed_code_is_not_the_committed_one(
    store: Store, tune: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.queue.attempt.code_state", lambda: ("1" * 40, True))
    assert tune() == 0
    names = {path.name for path in (store.results / "tuning").iterdir()}
    assert names == {"smoke.local.md", "smoke.local.csv"}
    text = (store.results / "tuning/smoke.local.md").read_text()
    assert "11111111 with changes" in text


def test_a_variant_that_diverged_is_part_of_the_result(
    store: Store, tune: Cli, monkeypatch: pytest.MonkeyPatch, clean_commit: str
) -> None:
    monkeypatch.setenv("FAKE", "fail-fast")
    assert tune() == 0
    text = (store.results / "tuning/smoke.md").read_text()
    assert "2 of 3 variants have finished (wide failed); the highest AP is that of" in text
    assert "failed: the loss is not finite at iteration 7" in text


def test_the_verdict_is_the_rules(store: Store, tune: Cli) -> None:
    assert tune() == 0
    found = trials(SMOKE, store)

    def with_ap(*values: float) -> list[Trial]:
        pairs = zip(found, values, strict=True)
        return [replace(t, record=replace(t.record, metrics={"AP": ap})) for t, ap in pairs]

    assert verdict(with_ap(1, 2, 1)).endswith(
        "the highest AP is that of as it is, which is what the runs have."
    )
    assert "of wide, but the runs have another value" in verdict(with_ap(1, 2, 3))
    *others, wide = with_ap(1, 2, 3)
    not_to_choose = replace(wide, variant=replace(wide.variant, eligible=False))
    assert verdict([*others, not_to_choose]).endswith(
        "the highest AP of those that may be chosen is that of as it is, "
        "which is what the runs have."
    )
    assert (
        verdict([*others, replace(wide, record=None)])
        == "2 of 3 variants have finished: the sweep is not complete."
    )


def test_the_records_say_whether_the_sweep_came_first(store: Store, tune: Cli) -> None:
    assert tune() == 0

    def at(start: str, trial: Trial) -> Trial:
        assert trial.record is not None
        record = replace(trial.record, started=f"2020-01-01T{start}:00+00:00", seconds=60.0)
        return replace(trial, record=record)

    pairs = zip(("09:00", "09:30", "11:00"), trials(SMOKE, store), strict=True)
    slow, as_it_is, wide = (at(start, trial) for start, trial in pairs)
    shown = replace(slow, variant=replace(wide.variant, eligible=False), record=wide.record)
    row = at("09:31", slow).record
    assert row is not None

    spans = "started between 2020-01-01 09:00:00+00:00 and 2020-01-01 11:00:00+00:00."
    text = chronology([slow, as_it_is, shown], [row], "a table")
    assert spans in text
    assert "a table was started at 2020-01-01 09:31:00+00:00: every eligible variant was" in text
    assert "NOT every eligible variant was trained before it (wide)." in chronology(
        [slow, as_it_is, wide], [row], "a table"
    )
    still_training = replace(row, started="2020-01-01T09:30:59+00:00")
    assert "(as it is)" in chronology([slow, as_it_is, shown], [still_training], "a table")
    assert "(wide)" in chronology([slow, as_it_is, replace(wide, record=None)], [row], "a table")
    assert chronology([slow, as_it_is], [], "the row").endswith(
        "no run of the row was recorded at this profile."
    )


def test_a_sweep_says_what_it_varied_and_what_not(
    store: Store, tune: Cli, clean_commit: str
) -> None:
    assert tune() == 0
    text = (store.results / "tuning/smoke.md").read_text()
    assert "The sweep varied learning rate, channels. The others (levels, batch, " in text
    assert "before any GFL row" not in text
    (sweep,) = sweeps(SMOKE)
    slow, as_it_is, wide = sweep.variants
    some = replace(sweep, variants=(slow, as_it_is, replace(wide, eligible=False)))
    assert varied(some) == (
        "The sweep varied learning rate; shown at another value, not to be chosen: channels. "
        "The others (levels, channels, batch, epochs, warm-up, clipping) were set by hand on "
        "trials of plain ATSS and not swept."
    )
    assert varied(OF_LIKELIHOOD) == "The sweep varied the likelihood's weight."


def test_runs_of_tables_are_told_from_those_of_the_sweep(store: Store, tune: Cli) -> None:
    assert tune() == 0
    assert table_runs(sweeps(SMOKE)[0], SMOKE, store) == []
    record = trials(SMOKE, store)[0].record
    assert record is not None
    (run,) = plan([catalogue.find("table-3")], SMOKE, [0])[:1]
    shown = replace(record, id=run.id, seed=0)
    shown.save(store.reference_path("smoke", run.id))
    assert [found.id for found in table_runs(sweeps(SMOKE)[0], SMOKE, store)] == [run.id]
    assert table_runs(OF_LIKELIHOOD, SMOKE, store) == []


def test_a_dry_run_only_tells(tmp_path: Path, tune: Cli, capfd: pytest.CaptureFixture) -> None:
    assert tune("--dry-run", "--jobs", "2") == 0
    out = capfd.readouterr().out
    assert "(tuning/wide)" in out
    assert "3 runs, 3 to train, 2 at a time" in out
    assert list(tmp_path.iterdir()) == []


def test_sweeps_are_chosen_by_name(store: Store) -> None:
    names = [sweep.name for sweep in sweeps(profiles.LAPTOP)]
    assert len(set(names)) == len(names)
    chosen = runs(profiles.LAPTOP, store, ["sapd", "gaussian"])
    assert {run.experiment.slug.partition("-lr")[0] for run in chosen[:4]} == {"sapd-r101"}
    assert [run.id for run in chosen] == [
        run.id for name in ("sapd", "gaussian") for run in runs(profiles.LAPTOP, store, [name])
    ]
    with pytest.raises(UserError, match="no sweep 'sapt' at laptop; did you mean 'sapd'"):
        sweeps(profiles.LAPTOP, ["sapt"])


def test_no_table_shows_the_tuning_seed(store: Store, tune: Cli, clean_commit: str) -> None:
    assert tune() == 0
    table = catalogue.find("table-3")
    assert not any(cell.local or cell.remarks for cell in filled.fill(table, SMOKE, store))
    with pytest.raises(UserError, match="nothing to promote"):
        promote([table], SMOKE, store)
    with pytest.raises(UserError, match="seed 100 is for tuning"):
        plan([table], SMOKE, [0, TUNING_SEED])


def test_a_profile_without_a_sweep_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["tune", "--profile", "coco", "--runs", str(tmp_path)]) == 2
    assert "no sweep is declared for profile 'coco'; known: laptop" in capfd.readouterr().err
