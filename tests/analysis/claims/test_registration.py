"""What is registered before a profile's runs, and what is said when it changes afterwards."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.claims import registration, wording
from analysis.claims.registration import Registered
from analysis.claims.verdicts import AtProfile
from experiments import checkout
from experiments.claims import CLAIMS
from experiments.claims.declare import At
from experiments.profiles import COCO, LAPTOP, PHOTOS, SEEDS, TUNING_SEED
from experiments.tables.catalogue import TABLES
from gfl.errors import UserError
from gfl.experiment import Experiment, at_scale
from gfl.records.record import RunRecord, Store, run_id


def record(seed: int, started: str, template: RunRecord) -> RunRecord:
    id = run_id(Experiment(), PHOTOS, seed)
    return replace(template, id=id, profile="photos", seed=seed, started=started)


@pytest.fixture
def template() -> RunRecord:
    """A committed record."""
    folder = Path(__file__).parents[3] / "results/runs/laptop"
    return RunRecord.load(sorted(folder.glob("atss-joint-dirac-s0-*.json"))[0])


def test_every_claim_is_registered_with_the_bounds_that_it_has_there(store: Store) -> None:
    path = registration.register(PHOTOS, store)
    content = json.loads(path.read_text())
    assert content["readings"].keys() == {claim.id for claim in CLAIMS}
    assert content["seeds"] == SEEDS["photos"]
    assert content["profile"]["model"]["frozen"] == PHOTOS.model.frozen
    (check,) = content["readings"]["delta-1-enough"]["checks"]
    assert (check["low"], check["high"]) == (-0.5, None)  # the paper's margin: COCO's images
    assert check["terms"] == [[1.0, "table-2c", "1", "AP"], [-1.0, "table-2c", "0.5", "AP"]]
    at_laptop = registration.readings(LAPTOP)["delta-1-enough"]["checks"]
    assert at_laptop[0]["low"] == -1.0
    found = registration.read(store, "photos")
    assert found is not None
    assert list(registration.changes(found, PHOTOS)) == []


def test_every_table_with_runs_has_a_number_of_seeds() -> None:
    runs = {name for name, table in TABLES.items() if table.runs_at("photos")}
    assert SEEDS["photos"].keys() == runs


def test_it_is_written_once(store: Store) -> None:
    path = registration.register(PHOTOS, store)
    before = path.read_bytes()
    with pytest.raises(UserError, match="registered before; to settle it anew, delete it"):
        registration.register(PHOTOS, store)
    assert path.read_bytes() == before


def test_nothing_is_registered_after_a_run_of_a_table(store: Store, template: RunRecord) -> None:
    swept = record(TUNING_SEED, "2026-01-01T10:00:00+00:00", template)
    swept.save(store.reference_path("photos", swept.id))
    first = record(0, "2026-01-02T10:00:00+01:00", template)
    first.save(store.reference_path("photos", first.id))
    with pytest.raises(UserError, match=r"recorded before \(2026-01-02 09:00\)"):
        registration.register(PHOTOS, store)
    store.reference_path("photos", first.id).unlink()
    registration.register(PHOTOS, store)  # a sweep's run decides no claim


ON_TABLE_4 = {
    "beats-sapd-and-atss", "best-with-r101", "state-of-the-art", "dcn-boosts", "envelope",
}  # fmt: skip


def row_of_table_4(key: str, started: str, template: RunRecord) -> RunRecord:
    experiment = At("table-4", key).found.experiment
    assert experiment is not None
    id = run_id(at_scale(experiment, LAPTOP), LAPTOP, 0)
    return replace(template, id=id, profile="laptop", seed=0, started=started)


def test_a_table_is_registered_after_others_have_runs(store: Store, template: RunRecord) -> None:
    # GFL R-50 is a row of Table 3, too: alone it completes no contrast.
    first = row_of_table_4("GFL R-50", "2026-01-01T10:00:00+00:00", template)
    first.save(store.reference_path("laptop", first.id))
    with pytest.raises(UserError, match="a run was recorded before"):
        registration.register(LAPTOP, store)
    with pytest.raises(UserError, match="table-1: no claim is decided by its rows alone"):
        registration.register(LAPTOP, store, "table-1")
    registration.register(LAPTOP, store, "table-4")
    found = registration.read(store, "laptop")
    assert found is not None
    assert found.readings.keys() == ON_TABLE_4  # at-their-speed: a benchmark's

    made = registration.beside(found, LAPTOP, [first])
    assert (made.first, made.added) == ("", ())
    at = AtProfile(LAPTOP, {}, {}, {}, registered=made)
    assert "on table-4 alone at laptop were registered" in wording.registered(at)
    assert "before the first run that decides one: there is none yet" in wording.registered(at)
    said = wording.registered_reading("orthogonal", at)
    assert said == "was not registered before its runs"
    assert " before its first run" in wording.registered_reading("envelope", at)

    gfl, sapd = (
        row_of_table_4(key, f"{day}T10:00:00+00:00", template)
        for key, day in (("GFL R-101", "2099-01-02"), ("SAPD R-101", "2099-01-03"))
    )
    assert registration.beside(found, LAPTOP, [first, gfl]).first == ""
    made = registration.beside(found, LAPTOP, [first, sapd, gfl])
    assert made.first == "2099-01-03 10:00"  # what completes the first contrast
    sapd.save(store.reference_path("laptop", sapd.id))
    registration.path(store, "laptop").unlink()
    registration.register(LAPTOP, store, "table-4")
    gfl.save(store.reference_path("laptop", gfl.id))
    registration.path(store, "laptop").unlink()
    with pytest.raises(UserError, match=r"recorded before \(2099-01-03 10:00\)"):
        registration.register(LAPTOP, store, "table-4")


def test_a_profile_without_seeds_cannot_be_registered(store: Store) -> None:
    with pytest.raises(UserError, match=r"coco: its number of seeds is not declared"):
        registration.register(COCO, store)


def test_what_changes_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    registration.register(PHOTOS, store)
    found = registration.read(store, "photos")
    assert found is not None
    shown = {claim.id: claim for claim in CLAIMS}
    narrower = replace(shown["dfl-adds"].checks[0], bounds=(0.1, math.inf))
    blind = replace(shown["both-beats-either"], blind={"photos": "why not"})
    changed = {"dfl-adds": replace(shown["dfl-adds"], checks=(narrower,)), blind.id: blind}
    kept = [changed.get(claim.id, claim) for claim in CLAIMS if claim.id != "orthogonal"]
    monkeypatch.setattr(registration, "CLAIMS", kept)
    monkeypatch.setitem(SEEDS, "photos", {"table-3": 1})
    other = replace(PHOTOS, eval_batch=1)
    assert set(registration.changes(found, other)) == {
        "the profile", "the number of seeds", "dfl-adds", "both-beats-either", "orthogonal",
    }  # fmt: skip
    # What is blind at another profile is no reading of this one.
    elsewhere = replace(shown["dfl-adds"], blind={"laptop": "why not"})
    monkeypatch.setattr(registration, "CLAIMS", [elsewhere])
    assert "dfl-adds" not in list(registration.changes(found, PHOTOS))


def test_a_claim_added_since_is_not_a_changed_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, template: RunRecord
) -> None:
    monkeypatch.setattr(registration, "CLAIMS", CLAIMS[2:])
    registration.register(PHOTOS, store)
    monkeypatch.setattr(registration, "CLAIMS", CLAIMS[1:])
    found = registration.read(store, "photos")
    assert found is not None
    made = registration.beside(found, PHOTOS, [record(0, "2026-01-02T10:00:00+00:00", template)])
    assert (made.changed, made.added) == ((), (CLAIMS[1].id,))
    at = AtProfile(PHOTOS, {}, {}, {}, registered=made)
    assert wording.registered(at).endswith(f"unchanged since; claims added since: {CLAIMS[1].id}.")
    assert wording.registered_reading(CLAIMS[1].id, at) == "was added after its registration"
    assert wording.registered_reading(CLAIMS[2].id, at).startswith("was registered on ")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "The readings at photos were not registered before its runs."),
        (
            Registered("2026-01-01 09:00", "2026-01-01 09:30", ()),
            "The readings at photos were registered on 2026-01-01 09:00 UTC, before its first "
            "recorded run (2026-01-01 09:30 UTC), and are unchanged since.",
        ),
        (
            Registered("2026-01-01 10:00", "2026-01-01 09:30", ("dfl-adds", "orthogonal")),
            "The readings at photos were registered on 2026-01-01 10:00 UTC, NOT before its first "
            "recorded run (2026-01-01 09:30 UTC), and are changed since: dfl-adds, orthogonal.",
        ),
    ],
)
def test_the_audit_says_which_came_first(found: Registered | None, said: str) -> None:
    assert wording.registered(AtProfile(PHOTOS, {}, {}, {}, registered=found)) == said


def test_a_damaged_registration_is_one_line(store: Store) -> None:
    path = registration.path(store, "photos")
    path.parent.mkdir(parents=True)
    path.write_text('{"written": "2026"}')
    with pytest.raises(UserError, match="not a registration"):
        registration.read(store, "photos")


def test_git_says_when_a_file_last_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "A")
        monkeypatch.setenv(f"{name}_EMAIL", "a@example.org")
        monkeypatch.setenv(f"{name}_DATE", "2026-01-02T10:00:00+0100")
    git("init", "-q")
    file = tmp_path / "file"
    assert checkout.last_change(file, tmp_path) is None
    file.write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    found = checkout.last_change(file, tmp_path)
    assert found is not None
    assert found[1] == "2026-01-02 09:00"
    assert checkout.last_change(file, tmp_path / "nowhere") is None
