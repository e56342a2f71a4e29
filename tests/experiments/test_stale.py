"""A loss is changed: what was trained before is named, and trained anew when asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import recorded
from commands import options, wait_for

from cli.main import main
from experiments import checkout, profiles, stale
from experiments.promote import objection
from experiments.queue.worker import ROOT
from experiments.stale import Staleness, Today
from gfl.experiment import Experiment
from gfl.records import digests
from gfl.records.record import Request, RunRecord, run_id

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
SMOKE = profiles.get("smoke")
NONE, QFL = run_id(Experiment(), SMOKE, 0), run_id(Experiment(quality="joint"), SMOKE, 0)
CHANGED = "gfl/losses.py has changed since"
Cli = Callable[..., int]
Trained = Callable[[], list[str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: Path) -> Cli:
    """The command, with a copy of the code, and without the table at the end."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the fake is a script, and lies elsewhere
    monkeypatch.setattr("cli.artefacts.show_tables", lambda *_, **__: 0)

    def call(*words: str) -> int:
        jobs = ["--jobs", "1"] if words[0] == "run" else []
        worker = [sys.executable, str(FAKE_WORKER)]
        return main([*words, *jobs, *options(tmp_path)], worker=worker)

    return call


def change(losses: Path) -> None:
    """Another formula of QFL."""
    text = losses.read_text(encoding="utf-8")
    assert "logits.sigmoid() - quality" in text
    changed = text.replace("logits.sigmoid() - quality", "logits.tanh() - quality")
    losses.write_text(changed, encoding="utf-8")


def remark(losses: Path) -> None:
    """The same formulas."""
    text = losses.read_text(encoding="utf-8").replace('"""', '"""A remark. ', 1)
    losses.write_text(f"{text}\n\n# a remark\n", encoding="utf-8")


def record(tmp_path: Path, id: str = QFL) -> RunRecord:
    return RunRecord.load(tmp_path / "runs/smoke" / id / "record.json")


# What is compared, and how it is said


def now(monkeypatch: pytest.MonkeyPatch, code: dict, versions: dict | None = None) -> Today:
    monkeypatch.setattr(digests, "code", lambda: code)
    monkeypatch.setattr(digests, "versions", lambda: versions or {})
    return Today()


def test_a_record_that_names_its_code_needs_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "code_at", None)
    made = recorded.record(code={"gfl/a.py": "1", "gfl/b.py": "2"})
    assert stale.compare(made, now(monkeypatch, {"gfl/a.py": "1", "gfl/b.py": "2"})).is_current
    found = stale.compare(made, now(monkeypatch, {"gfl/a.py": "1", "gfl/b.py": "3"}))
    assert found == Staleness(("gfl/b.py",))
    assert found.sentence(made) == "trained by code without a commit; gfl/b.py has changed since"
    dirty = replace(made, commit="4179feaed677", dirty=True)
    assert found.sentence(dirty) == "trained by 4179fea with changes; gfl/b.py has changed since"


def test_at_most_five_files_are_named_and_counted() -> None:
    files = [f"gfl/{name}.py" for name in "abcdefg"]
    made = recorded.record(commit="4179feaed677")
    assert Staleness(files).sentence(made) == (
        "trained by 4179fea; gfl/a.py, gfl/b.py, gfl/c.py, gfl/d.py, gfl/e.py and 2 more "
        "have changed since"
    )


@pytest.mark.parametrize(
    ("package", "then", "is_other"),
    [
        ("torch", "2.10.0", True),
        ("torch", "2.11.0+cpu", False),  # a build of the same release
        ("numpy", "2.2.5", True),
        ("python", "3.11.2", False),
        ("python", "3.12.7", True),
        ("torch", "2.10.0 then 2.11.0", True),
        ("pillow", "1.0", False),  # of which this machine tells nothing
    ],
)
def test_versions_of_packages_are_compared_by_release(
    package: str, then: str, is_other: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"torch": "2.11.0", "numpy": "2.2.6", "python": "3.11.7"}
    made = recorded.record(code={"gfl/a.py": "1"}, versions=here | {package: then})
    found = stale.compare(made, now(monkeypatch, {"gfl/a.py": "1"}, here))
    assert found.is_current is not is_other
    if is_other:
        said = f"trained by code without a commit with {package} {then} (here {here[package]})"
        assert found.sentence(made) == said


def test_older_records_are_compared_through_git(monkeypatch: pytest.MonkeyPatch) -> None:
    here = now(monkeypatch, {"gfl/a.py": "1"})
    monkeypatch.setattr(checkout, "code_at", {"aaa": {"gfl/a.py": "1"}, "bbb": {}}.get)
    old = recorded.record(commit="aaa")
    assert stale.compare(old, here).is_current
    assert stale.compare(replace(old, commit="bbb"), here) == Staleness(("gfl/a.py",))
    for changes, why in (
        ({"commit": "ccc"}, "that commit is not in this repository"),
        ({"dirty": True}, "it was uncommitted code"),
        ({"commit": None}, "its record names no commit"),
    ):
        unknown = replace(old, **changes)
        found = stale.compare(unknown, here)
        assert found == Staleness(unknown=why)
        assert not found.is_current
        assert f"whether gfl/ has changed since is unknown: {why}" in found.sentence(unknown)
        assert found.content()["stale"] is None


# Commands, on a copy of the code


def test_a_changed_loss_is_said_and_a_remark_is_not(
    cli: Cli, losses: Path, trained: Trained, clean_commit: str, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3/QFL") == 0
    remark(losses)
    capfd.readouterr()
    assert cli("run", "table-3") == 0
    out = capfd.readouterr().out
    assert "QFL, seed 0: already trained (AP 31.6, commit c0ffee0)\n" in out
    assert "since" not in out

    change(losses)
    assert cli("run", "table-3") == 0
    out = capfd.readouterr().out
    four = "none, seed 0; QFL, seed 0; DFL, seed 0; both, seed 0"
    again = "--again (make: AGAIN=1) trains them anew"
    assert f"{four}: trained by c0ffee0; {CHANGED}; {again}\n" in out
    assert len(trained()) == 4

    assert cli("status", "table-3") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "Table 3: 4 finished (4 stale)"
    assert "finished, AP 31.6, stale" in lines[2]
    assert f"trained by c0ffee0; {CHANGED}; {again}" in lines[5]
    assert cli("run", "table-3", "--dry-run") == 0
    assert "4 runs, 0 to train" in capfd.readouterr().out
    assert cli("run", "table-3", "--dry-run", "--again") == 0
    assert "4 runs, 4 to train" in capfd.readouterr().out


def test_status_lists_the_stale_alone(
    cli: Cli, losses: Path, clean_commit: str, capfd: pytest.CaptureFixture
) -> None:
    assert cli("status", "table-3", "--stale") == 0
    assert capfd.readouterr().out.startswith("nothing is trained locally")
    assert cli("run", "table-3/none") == 0
    assert cli("status", "table-3", "--stale") == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("no run is stale: ")
    change(losses)
    assert cli("run", "table-3/QFL") == 0
    capfd.readouterr()
    assert cli("status", "table-3", "--stale") == 0
    assert capfd.readouterr().out.splitlines() == [
        f"{NONE}  none, seed 0: trained by c0ffee0; {CHANGED}",
        "run --again (make: AGAIN=1) trains it anew",
    ]
    assert cli("status", "table-3", "--stale", "--json") == 0
    (run,) = json.loads(capfd.readouterr().out)["runs"]
    assert (run["id"], run["commit"][:6], run["dirty"]) == (NONE, "c0ffee", False)
    assert (run["stale"], run["changed_files"]) == (True, ["gfl/losses.py"])
    assert cli("status", "table-3", "--json") == 0
    runs = json.loads(capfd.readouterr().out)["runs"]
    assert [run["stale"] for run in runs] == [True, False, None, None]


def test_again_trains_what_is_stale_and_keeps_the_old(
    cli: Cli,
    tmp_path: Path,
    losses: Path,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    assert cli("run", "table-3/QFL") == 0
    old, folder = record(tmp_path), tmp_path / "runs/smoke" / QFL
    (folder / "final.pth").write_text("its weights")
    assert cli("run", "table-3/QFL", "--again") == 0  # of today's code: there is no other
    assert trained() == [QFL]

    change(losses)
    monkeypatch.setenv("MORE", "1")
    capfd.readouterr()
    assert cli("run", "table-3/QFL", "--again") == 0
    assert trained() == [QFL, QFL]
    kept = folder.with_name(f"{QFL}.before-1")
    assert f"training from scratch; the previous run is kept in {kept}\n" in capfd.readouterr().out
    assert RunRecord.load(kept / "record.json") == old
    assert (kept / "final.pth").read_text() == "its weights"
    assert not (folder / "final.pth").exists()
    before, after = old.metrics["AP"], record(tmp_path).metrics["AP"]
    assert before is not None
    assert after == before + 1
    assert cli("run", "table-3/QFL", "--again") == 0
    assert trained() == [QFL, QFL]

    # No reader takes the old one for a run.
    assert cli("status", "table-3", "--json") == 0
    out = capfd.readouterr().out
    assert [r["state"] for r in json.loads(out[out.index("{") :])["runs"]].count("finished") == 1

    assert cli("diff", f"{kept}", QFL, "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["code"].keys() == {"gfl/losses.py"}
    assert found["records"] == {"AP": {"a": before, "b": after}}
    assert (found["a"]["record"], found["b"]["record"]) == (f"{kept}/record.json", "local")


def test_a_run_of_other_versions_is_stale_too(
    cli: Cli, tmp_path: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3/QFL") == 0
    path = tmp_path / "runs/smoke" / QFL / "record.json"
    made = record(tmp_path)
    replace(made, versions={**made.versions, "torch": "1.13.1"}).save(path)
    capfd.readouterr()
    assert cli("run", "table-3/QFL") == 0
    here = made.versions["torch"]
    assert f"with torch 1.13.1 (here {here}); --again" in capfd.readouterr().out
    assert cli("run", "table-3/QFL", "--again") == 0
    assert len(trained()) == 2


def test_what_keeps_git_from_telling_the_commit_is_said_once_before_training(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(checkout, "problem", lambda: "git: detected dubious ownership")
    assert cli("run", "table-3") == 0
    line = "git: detected dubious ownership; runs are recorded without a commit\n"
    assert capfd.readouterr().out.count(line) == 1
    assert cli("run", "table-3") == 0
    assert "dubious" not in capfd.readouterr().out


def test_what_is_gone_on_with_by_other_code_is_said_and_is_neithers(
    cli: Cli,
    tmp_path: Path,
    losses: Path,
    monkeypatch: pytest.MonkeyPatch,
    clean_commit: str,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("FAKE", "die")
    assert cli("run", "table-3/QFL") == 1
    monkeypatch.setenv("FAKE", "")
    change(losses)
    assert cli("status", "table-3/QFL") == 0
    assert "partial, 1 of 2 epochs, stale" in capfd.readouterr().out
    assert cli("run", "table-3/QFL") == 0
    out = capfd.readouterr().out
    assert f"QFL, seed 0: the epochs so far were trained by c0ffee0; {CHANGED}" in out
    made = record(tmp_path)
    assert made.dirty
    assert stale.mixed(made) == ["gfl/losses.py"]
    assert objection(made) == "trained in parts, by several versions of gfl/losses.py"
    for _ in range(2):  # by the first code and by the second
        assert stale.compare(made, Today()) == Staleness(("gfl/losses.py",))
        text = losses.read_text().replace("logits.tanh() - quality", "logits.sigmoid() - quality")
        losses.write_text(text)
    assert cli("run", "table-3/QFL", "--again") == 0
    assert not record(tmp_path).dirty
    assert stale.compare(record(tmp_path), Today()).is_current


def test_again_goes_on_with_nothing_of_other_code(
    cli: Cli,
    tmp_path: Path,
    losses: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("FAKE", "die")
    assert cli("run", "table-3/QFL") == 1
    monkeypatch.setenv("FAKE", "")
    change(losses)
    assert cli("run", "table-3/QFL", "--again") == 0
    assert "going on from" not in capfd.readouterr().out
    assert stale.mixed(record(tmp_path)) == []
    kept = tmp_path / "runs/smoke" / f"{QFL}.before-1"
    assert (kept / "epoch_1.pth").exists()


def test_a_request_of_before_code_was_named_vouches_for_nothing_it_does_not_say(
    cli: Cli, tmp_path: Path, losses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "die")
    assert cli("run", "table-3/QFL") == 1
    folder = tmp_path / "runs/smoke" / QFL
    replace(Request.load(folder), code={}, versions={}, commit=None).save(folder)
    monkeypatch.setenv("FAKE", "")
    assert cli("run", "table-3/QFL") == 0
    made = record(tmp_path)
    assert (made.code, made.dirty) == ({}, True)
    assert stale.compare(made, Today()).unknown


# Several processes


PROGRAM = (
    "import sys; from pathlib import Path; from gfl.records import digests; "
    "from cli import artefacts; from cli.main import main; digests.ROOT = Path(sys.argv[2]); "
    "artefacts.show_tables = lambda *_, **__: 0; "
    "sys.exit(main(sys.argv[3:], worker=[sys.executable, sys.argv[1]]))"
)


def start(tmp_path: Path, losses: Path, *words: str, **environment: str) -> subprocess.Popen:
    """Another process with the same copy of the code."""
    root = str(losses.parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(FAKE_WORKER), root, *words, *options(tmp_path)],
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_while_training_anew_it_goes_on_with_the_new_alone(
    cli: Cli, tmp_path: Path, losses: Path, trained: Trained, capfd: pytest.CaptureFixture
) -> None:
    assert cli("run", "table-3") == 0
    old = record(tmp_path, NONE)
    change(losses)
    process = start(tmp_path, losses, "run", "table-3", "--again", "--jobs", "1", FAKE="hang")
    hanging = tmp_path / "runs/smoke" / NONE / "hanging"
    wait_for(lambda: hanging.exists() and hanging.read_text())
    process.kill()
    process.communicate()
    os.kill(int(hanging.read_text()), signal.SIGKILL)
    # Of the others, which had not begun, the old records are where they were.
    assert record(tmp_path, QFL).code == old.code
    capfd.readouterr()
    assert cli("run", "table-3") == 0
    out = capfd.readouterr().out
    assert "none, seed 0: going on from iteration 10\n" in out
    assert f"QFL, seed 0; DFL, seed 0; both, seed 0: trained by {stale.by(old)}; {CHANGED}" in out
    made = record(tmp_path, NONE)
    assert stale.mixed(made) == []
    assert made.code != old.code
    kept = tmp_path / "runs/smoke" / f"{NONE}.before-1"
    assert RunRecord.load(kept / "record.json") == old
    # The same command with it again: only what is left.
    assert cli("run", "table-3", "--again") == 0
    assert sorted(trained()[4:]) == sorted([NONE, NONE, *set(trained()) - {NONE}])


def test_two_processes_train_anew_once(
    cli: Cli, tmp_path: Path, losses: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("run", "table-3") == 0
    change(losses)
    monkeypatch.setenv("FAKE_SLEEP", "0.02")
    words = ("run", "table-3", "--again", "--jobs", "1")
    others = [start(tmp_path, losses, *words) for _ in range(3)]
    for other in others:
        said, _ = other.communicate(timeout=120)
        assert other.returncode == 0, said
    assert len(trained()) == 8
    assert len(set(trained()[4:])) == 4
    folders = sorted(path.name for path in (tmp_path / "runs/smoke").glob("*.before-*"))
    assert folders == sorted(f"{id}.before-1" for id in set(trained()))
