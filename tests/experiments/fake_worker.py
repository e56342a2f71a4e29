"""Stands in for ``python -m gfl.training.worker``: the same protocol, no training.

What it does beyond a good run is named by the environment variable FAKE.
"""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from recorded import record

from gfl.experiment import Experiment
from gfl.records.record import METRICS, Request

EPOCHS, ITERS = 4, 40


def say(event, **content):
    print(json.dumps({"event": event} | content), flush=True)


def wait_for(what):
    deadline = time.monotonic() + 30
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def main(run_dir: Path) -> int:
    fake = os.environ.get("FAKE", "")

    def heed(*_):
        (run_dir / "heeded").touch()
        say("preempted", epoch=1, iter=10)
        os._exit(75)

    if fake == "heed":
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, heed)
    request = Request.load(run_dir)
    with (run_dir.parent / "trained.txt").open("a") as file:
        file.write(f"{request.id}\n")
    done = max((int(p.stem[6:]) for p in run_dir.glob("epoch_*.pth")), default=0)
    say("start", iters=ITERS, epochs=EPOCHS, resumed=done * ITERS // EPOCHS)
    print("a library prints this")
    say("phase", name="preparing data", done=1, of=1)
    if fake == "user-error":
        say("error", message="no GPU was found: take --device cpu", user=True)
        return 2
    loss, slow = 2.0, float(os.environ.get("FAKE_SLEEP", "0"))
    for epoch in range(done + 1, EPOCHS + 1):
        for i in range(ITERS // EPOCHS):
            time.sleep(slow)
            loss *= 0.97
            iter = (epoch - 1) * ITERS // EPOCHS + i + 1
            say("train", iter=iter, epoch=epoch, loss=loss, images_per_second=42.0)
        (run_dir / f"epoch_{epoch}.pth").touch()
        if fake == "meet" and epoch == 1:
            wait_for(lambda: len((run_dir.parent / "trained.txt").read_text().split()) > 1)
        if fake == "deaf":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        first = request.experiment == Experiment()
        if fake == "lose" and not (run_dir / "lost").exists():
            (run_dir / "lost").touch()
            say("lost", message="another process took over the run")
            return 1
        if fake in ("hang", "heed", "deaf") or (fake == "die-or-hang" and not first):
            (run_dir / "hanging").write_text(str(os.getpid()))
            time.sleep(120)
        if fake == "die-or-hang":
            wait_for(lambda: any(run_dir.parent.glob("*/hanging")))
        if fake.startswith("die"):
            raise RuntimeError("something broke")
    say("phase", name="evaluating", done=16, of=16)
    ap = 30.0 + len(request.experiment.slug) / 10 + request.seed + float(os.environ.get("MORE", 0))
    if fake == "learn":
        ap += 1000 * request.profile.schedule.lr
    if fake == "fail-fast":
        fake = "fail" if request.profile.schedule.lr > 1e-3 else ""
    say("eval", epoch=EPOCHS, AP=ap, AP50=ap + 20, AP75=ap + 1)
    state = "failed" if fake == "fail" else "capped" if request.max_iters else "finished"
    if fake != "forget":
        made = record(
            id=request.id,
            experiment=asdict(request.experiment),
            profile=json.loads((run_dir / "request.json").read_text())["profile"],
            seed=request.seed,
            commit=request.commit,
            dirty=request.dirty,
            code=request.code,
            versions=request.versions,
            metrics={name: ap + i for i, name in enumerate(METRICS)},
            fps=100.0,
            curve=[{"iter": ITERS, "epoch": EPOCHS, "lr": 0.0, "loss": float("nan")}],
            evals=[{"epoch": EPOCHS, "AP": ap, "AP50": ap + 20, "AP75": ap + 1}],
            max_iters=request.max_iters,
            state=state,
            message="the loss is not finite at iteration 7" if fake == "fail" else "",
        )
        made.save(run_dir / "record.json")
    say("end", state=state)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
