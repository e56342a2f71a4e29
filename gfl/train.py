"""Train one run in its own process: ``python -m gfl.train RUN_DIR``.

Reads ``RUN_DIR/request.json``, goes on from the newest checkpoint there, and writes
``RUN_DIR/record.json`` and ``predictions.json`` at the end. What happens is told as JSON lines on
standard output; everything that libraries print goes to standard error, which is the run's log.

Exit codes: 0 a record was written, 2 the user can mend it, 1 anything else, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from gfl import config
from gfl.data import coco, shapes
from gfl.errors import UserError
from gfl.record import RecordError, Request, RunRecord, State, digest, write_json

EMBEDDED = Path(__file__).resolve().parents[1] / "data"  # git-ignored

Tell = Callable[..., None]


def main(argv: list[str]) -> int:
    """Run the worker on ``argv[0]``, a run's folder."""
    tell = _events()
    try:
        run_dir = Path(argv[0])
        request = Request.load(run_dir)
        _choose_device(request)
        train(request, run_dir, tell)
    except UserError as err:
        tell("error", message=str(err), user=True)
        return 2
    except KeyboardInterrupt:
        return 130
    except (OSError, RecordError) as err:
        traceback.print_exc()
        tell("error", message=f"{type(err).__name__}: {err}", user=False)
        return 1
    return 0


def _events() -> Tell:
    """Keep standard output for events, of the first process, and give the rest to the log."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    first = int(os.environ.get("RANK", "0")) == 0

    def tell(event: str, **content: object) -> None:
        if first:
            print(json.dumps({"event": event, **content}), file=stream)

    return tell


def _choose_device(request: Request) -> None:
    """Settle, before torch looks at it, whether this process sees a CUDA device.

    Raises:
        UserError: CUDA was asked for, or the profile is made for it, and there is none.
    """
    wanted = request.device if request.device != "auto" else request.profile.device
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    import torch

    if torch.cuda.is_available():
        return
    if request.device == "cuda":
        raise UserError("CUDA asked for, but torch finds no CUDA device here")
    if request.max_iters is None:
        raise UserError(
            f"the {request.profile.name} profile is made for CUDA, and torch finds no CUDA device "
            "here; PROFILE=laptop runs on a CPU, --device cpu tries this one anyway"
        )


def train(request: Request, run_dir: Path, tell: Tell) -> None:
    """Train the run that is requested and write its record.

    Raises:
        UserError: the data are not there or not what they should be.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    data_root = _data(request, tell)
    tell("phase", name="loading torch and mmdet")
    from gfl import session  # seconds, which a refused request need not wait for

    spec = request.profile.dataset
    on_cpu = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    settings = config.for_machine(
        config.build(request.experiment, request.profile, request.seed),
        data_root=data_root,
        work_dir=run_dir,
        workers=0 if spec else 2,
        max_iters=request.max_iters,
    )
    outcome = session.run(settings, run_dir, tell, threads=1 if spec and on_cpu else None)
    if not outcome.is_first:
        return
    ended: State = "finished" if request.max_iters is None else "capped"
    state: State = "failed" if outcome.problem else ended
    write_json(run_dir / "predictions.json", {"detections": outcome.detections})
    RunRecord(
        id=request.id,
        experiment=asdict(request.experiment),
        profile=asdict(request.profile),
        seed=request.seed,
        commit=request.commit,
        dirty=request.dirty,
        versions=outcome.versions,
        hardware=outcome.hardware,
        metrics=outcome.metrics,
        fps=outcome.fps,
        curve=outcome.curve,
        evals=outcome.evals,
        seconds=outcome.seconds,
        images_per_second=outcome.images_per_second,
        max_iters=request.max_iters,
        state=state,
        message=outcome.problem,
        started=started,
    ).save(run_dir / "record.json")
    tell("end", state=state)


def _data(request: Request, tell: Tell) -> Path:
    """Return the folder of the data set, drawn if it is the embedded one, else checked.

    Raises:
        UserError: COCO's folder is not named, or not as COCO lays it out.
    """
    spec = request.profile.dataset
    if spec is None:
        if request.data_root is None:
            raise UserError("the coco profile needs COCO: DATA=/path/to/coco, or --data")
        root = Path(request.data_root)
        tell("phase", name="checking COCO")
        coco.check(root)
        return root
    root = EMBEDDED / f"shapes-{digest(asdict(spec))[:8]}"

    def progress(done: int, total: int) -> None:
        tell("phase", name="drawing the embedded data set", done=done, of=total)

    shapes.write(spec, root, progress=progress)
    return root


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
