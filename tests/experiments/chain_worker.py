"""Stands in for ``python -m gfl.training.worker``, and shows every lost or repeated iteration.

Each iteration hashes the state before it: only exactly the same iterations, in the same order, end
in the same metrics. Checkpoints, signals, events and exit codes are those of the real one.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from recorded import record

from gfl.files import write_text
from gfl.records.record import METRICS, Request, checkpoint_position
from gfl.training.preemption import PREEMPTED, SIGNALS

EPOCHS, ITERS = 4, 40
asked = []


def say(event, **content):
    print(json.dumps({"event": event} | content), flush=True)


def newest(run_dir: Path) -> tuple[int, str]:
    """The iterations done and the state after them."""
    found = [(p, path) for path in run_dir.glob("*.pth") if (p := checkpoint_position(path.name))]
    return json.loads(max(found)[1].read_text()) if found else (0, "")


def store(run_dir: Path, done: int, state: str) -> None:
    epoch, rest = divmod(done * EPOCHS, ITERS)
    middle = f"_iter_{done}" if rest else ""
    write_text(run_dir / f"epoch_{epoch}{middle}.pth", json.dumps([done, state]))


def main(run_dir: Path) -> int:
    with (run_dir.parent / f".{run_dir.name}.alone").open("a+") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("error", message="two workers train the run at a time")
            return 1
        return train(run_dir)


def train(run_dir: Path) -> int:
    request = Request.load(run_dir)
    with (run_dir.parent / "starts.txt").open("a") as file:
        file.write(f"{request.id} {os.environ.get('SLURM_RESTART_COUNT', '0')}\n")
    done, state = newest(run_dir)
    say("start", iters=ITERS, epochs=EPOCHS, resumed=done)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: asked.append(number))
    while done < ITERS:
        time.sleep(float(os.environ.get("CHAIN_SECONDS", "0")))
        state, done = hashlib.sha256(f"{request.id}{state}{done}".encode()).hexdigest(), done + 1
        epoch = -(-done * EPOCHS // ITERS)
        say("train", iter=done, epoch=epoch, loss=1 / done, images_per_second=1.0)
        if done * EPOCHS % ITERS == 0:
            store(run_dir, done, state)
        if asked:
            store(run_dir, done, state)
            say("preempted", epoch=epoch, iter=done)
            return PREEMPTED
    value = int(state[:6], 16) / 2**24 * 100
    record(
        id=request.id,
        experiment=asdict(request.experiment),
        profile=json.loads((run_dir / "request.json").read_text())["profile"],
        seed=request.seed,
        metrics=dict.fromkeys(METRICS, value),
        message=state,
    ).save(run_dir / "record.json")
    say("end", state="finished")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
