"""32 processes at one table, killed at random and started again: each run is trained once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from experiments import profiles
from experiments.matrix import plan
from experiments.queue.worker import ROOT
from experiments.tables import catalogue
from gfl.records.record import RunRecord

PROCESSES, KILLS, SEEDS = 32, 40, (0, 1, 2)

# The pretending worker, which writes down what it finds when it begins, and that it has ended.
WORKER = """
import os, pathlib, sys
run_dir = pathlib.Path(sys.argv[1])

def note(what):
    with (run_dir.parent.parent / "notes.txt").open("a") as file:
        file.write(f"{what} {run_dir.name}\\n")

note("begun")  # before the imports: on a busy machine most kills hit a worker there
import fake_worker
from gfl.records.lease import process_start

busy = run_dir / "busy"
# A worker that is dead may still be listed: nobody waits for an orphan but init, some time.
if busy.exists() and (pid := busy.read_text()) and process_start(int(pid)) is not None:
    note("second")
if (run_dir / "record.json").exists():
    note("again")
busy.write_text(str(os.getpid()))
code = fake_worker.main(run_dir)
busy.unlink()
note("ended")
sys.exit(code)
"""

# Arguments: a folder, the worker, the command. Forks of one process, which has imported all.
DRIVER = """
import json, os, pathlib, random, signal, sys, time
from cli import artefacts
from cli.main import main
from experiments.tables import catalogue
from gfl.training import worker

folder, script, processes, kills, words = sys.argv[1:]
worker.EMBEDDED = pathlib.Path(folder, "data")
catalogue.TABLES.update(catalogue.PAPERS)
artefacts.show_tables = lambda *_, **__: 0  # the records are what counts here
dice = random.Random(0)

def begin():
    child = os.fork()
    if child == 0:
        code = 70
        try:
            out = os.open(f"{folder}/out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = main(json.loads(words), worker=[sys.executable, script])
        finally:
            os._exit(code)
    return child

def workers_of(process):
    found = []
    for task in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found

def end(process):
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass

running = {begin() for _ in range(int(processes))}
killed, codes = 0, []
while running:
    process, status = os.waitpid(-1, os.WNOHANG)
    if process in running:
        running.remove(process)
        code = os.waitstatus_to_exitcode(status)
        codes.append(code)
        if code != 0:  # killed, or its worker was: somebody starts it again
            running.add(begin())
        continue
    time.sleep(dice.uniform(0.0, 0.2))
    if killed < int(kills) and (working := [p for p in running if workers_of(p)]):
        one = dice.choice(working) if dice.random() < 0.8 else dice.choice(sorted(running))
        victims = [[one], workers_of(one), [one, *workers_of(one)]]
        for victim in dice.choice(victims):
            end(victim)
        killed += 1
print(json.dumps({"killed": killed, "codes": codes}))
"""


def test_every_run_is_trained_once_whoever_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    words = ["run", "table-3", "--profile", "smoke", "--jobs", "1", "--seeds", *map(str, SEEDS)]
    words += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests/experiments")))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, tmp_path, script, f"{PROCESSES}", f"{KILLS}",
         json.dumps(words)],
        env=os.environ | {"PYTHONPATH": path, "FAKE_SLEEP": "0.02"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["killed"] >= KILLS / 2  # before there was nothing left to do
    assert told["codes"].count(0) == PROCESSES
    assert set(told["codes"]) <= {0, 1, -9}, (tmp_path / "out.txt").read_text()[-3000:]
    runs = plan([catalogue.find("table-3")], profiles.get("smoke"), SEEDS)
    found = Counter((tmp_path / "runs/notes.txt").read_text().splitlines())
    expected = {run.id for run in runs}
    for id in expected:
        record = RunRecord.load(tmp_path / "runs/smoke" / id / "record.json")
        assert (record.id, record.state) == (id, "finished")
        assert found[f"ended {id}"] <= 1  # none if it was killed right after its record
        assert found[f"begun {id}"] >= 1
    assert sum(n for what, n in found.items() if what.startswith("begun")) > len(expected)
    assert not [what for what in found if what.startswith(("second", "again"))]
    folders = {p.name for p in (tmp_path / "runs/smoke").iterdir() if p.is_dir()}
    assert folders == expected  # none was set aside
