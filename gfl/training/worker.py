"""Train one run in its own process: ``python -m gfl.training.worker RUN_DIR``.

Reads ``RUN_DIR/request.json``, resumes from the newest checkpoint there, and writes
``RUN_DIR/record.json`` and ``predictions.json`` at the end; also the files of ``gfl.predictions``:
all for the profiles laptop, photos and gpu, and matches for data that are not embedded. Events are
reported as JSON lines on standard output; all output of libraries goes to standard error, which is
the run's log.

Exit codes: 0 a record was written, 2 an error the user can fix, 1 any other, 130 interrupted, or
abandoned by the process that read the events, 75 ended on SIGTERM, SIGUSR1 or SIGUSR2, with a
checkpoint from which the same command goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from gfl import config, hardware, terminal
from gfl.config import schedule_of
from gfl.config.data import annotation_file, has_loaders
from gfl.data import photos
from gfl.data.annotations import read
from gfl.data.photos_spec import PhotosSpec
from gfl.errors import UserError, disk_error
from gfl.files import writable_or_cached
from gfl.predictions.schema import keeps_matches
from gfl.records import account, digests
from gfl.records.lease import Hold, LostError
from gfl.records.record import RecordError, Request, RunRecord, State, digest, write_json
from gfl.shapes import embedded
from gfl.training.preemption import PREEMPTED, Preempted, preemption

if TYPE_CHECKING:
    from gfl.training.session import Outcome

EMBEDDED = Path(__file__).resolve().parents[2] / "data"  # git-ignored
LOADERS = 4  # processes per device, if any

EVALUATED = "predictions.json"  # the detections that were evaluated
INTERRUPTED = 130

Emit = Callable[..., None]


def main(argv: list[str]) -> int:
    """Run the worker on the run's folder ``argv[0]``."""
    emit = _events()
    account.complete()
    run_dir = Path(argv[0])
    try:
        preemption.listen()
        request = Request.load(run_dir)
        _choose_device(request)
        train(request, run_dir, emit)
    except Preempted as err:
        emit("preempted", epoch=err.epoch, iter=err.iter)
        return PREEMPTED
    except LostError as err:
        emit("lost", message=str(err))
        return 1
    except UserError as err:
        emit("error", message=str(err), user=True, lacks=err.lacks)
        return 2
    except (KeyboardInterrupt, BrokenPipeError):  # nobody reads the events any more
        return INTERRUPTED
    except (OSError, RuntimeError, RecordError) as err:
        users = disk_error(err, run_dir)
        # Reported first: the log may be on the full disk.
        emit("error", message=str(users or f"{type(err).__name__}: {err}"), user=bool(users))
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return 2 if users else 1
    return 0


def _events() -> Emit:
    """Reserve standard output for the first process's events, and send the rest to the log."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    first = int(os.environ.get("RANK", "0")) == 0
    local_first = int(os.environ.get("LOCAL_RANK", "0")) == 0

    def emit(event: str, **content: object) -> None:
        # Any error ends all processes, perhaps the first before it knows why; and each node's
        # launcher ends with a code of its own, whatever its workers'.
        if first or event == "error" or (event in ("preempted", "lost") and local_first):
            print(json.dumps({"event": event, **content}), file=stream)

    return emit


def _choose_device(request: Request) -> None:
    """Decide, before torch initialises, whether this process sees a CUDA device.

    Raises:
        UserError: CUDA was requested, or the profile is made for it, and there is none, or there
            are fewer devices than requested.
    """
    wanted = request.device if request.device != "auto" else request.profile.device
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    import torch

    if torch.cuda.is_available():
        # On this node: torch's launcher says how many of the run's processes are here.
        needed = int(os.environ.get("LOCAL_WORLD_SIZE", request.gpus))
        if needed > (found := torch.cuda.device_count()):
            raise UserError(f"the run needs {needed} CUDA devices, and torch finds {found}")
        return
    if request.device == "cuda":
        raise UserError("device cuda: torch finds no CUDA device")
    if request.max_iters is None:
        raise UserError(
            f"the {request.profile.name} profile is made for CUDA, and torch finds no CUDA device",
            lacks="cuda",
        )
    if request.gpus > 1:
        raise UserError(f"the run needs {request.gpus} CUDA devices, and torch finds none")


def train(request: Request, run_dir: Path, emit: Emit) -> None:
    """Train the requested run and write its record.

    Raises:
        UserError: the data are missing or invalid.
        Preempted: a signal asked this process to end.
        LostError: another process has taken the run over.
    """
    data_root = _data(request, emit)
    emit("phase", name="loading torch and mmdet")
    from gfl.training import (  # takes seconds, which a rejected request need not wait for
        checkpoint,
        session,
    )

    hold = Hold.inherited()
    if hold is not None and int(os.environ.get("RANK", "0")) == 0:
        hold.check()
        hold.keep()
    request = _as_loaded(request)
    _compute_features(request, data_root, emit)
    outcome = session.run(
        _settings(request, data_root, run_dir),
        run_dir,
        emit,
        # One thread each, and as many runs as cores: the same bits on any number of cores.
        threads=1 if _is_small_on_cpu(request) else request.cores,
        capped=request.max_iters is not None,
        gpus=request.gpus,
        minutes=request.checkpoint_minutes,
        hold=hold,
    )
    if not outcome.is_first:
        return
    record = _record(request, outcome)
    if hold is not None:
        hold.check()
    write_json(run_dir / EVALUATED, {"detections": outcome.detections}, indent=None)
    if record.state == "finished" and request.predicts:
        device = "cpu" if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else "cuda"
        found = predict(request, run_dir, emit, device=device, data_root=data_root)
        record = replace(record, predictions=found)
    elif record.state == "finished":
        record = replace(record, predictions=_matches(request, run_dir, data_root))
    if hold is not None:
        hold.check()
    preemption.defer()  # what is left takes a moment, and is done only here
    record.save(run_dir / "record.json")
    if record.state != "failed":  # else the same command goes on from the last of them
        checkpoint.forget(run_dir)
    emit("end", state=record.state)


def predict(
    request: Request,
    run_dir: Path,
    emit: Emit,
    *,
    device: Literal["cpu", "cuda"],
    data_root: Path | None = None,
) -> dict[str, str]:
    """Write a finished run's predictions for its validation images; return their SHA-256 by name.

    ``data_root`` holds its data; None: they are looked for, or drawn.

    Raises:
        UserError: the run's weights or its data are missing or invalid.
    """
    if data_root is None:
        data_root = _data(request, emit)
        _compute_features(request, data_root, emit)
    emit("phase", name="predicting")
    import torch

    from gfl.predictions import collect

    if request.profile.is_small and device == "cpu":
        torch.set_num_threads(1)  # as when it was evaluated: the same bits
    workers = 0 if device == "cpu" else min(LOADERS, request.cores or LOADERS)

    def progress(done: int, total: int) -> None:
        emit("phase", name="predicting", done=done, of=total)

    made = collect.predict(run_dir, data_root, device=device, workers=workers, progress=progress)
    return made | _matches(request, run_dir, data_root)


def _matches(request: Request, run_dir: Path, data_root: Path) -> dict[str, str]:
    """Write the results of a run's evaluation, unless its data are here to repeat it.

    Uses the evaluated detections, which another device would predict slightly differently.
    """
    if not keeps_matches(request.profile):
        return {}
    from gfl.data.json_values import read_json
    from gfl.predictions import matches

    detections = read_json(run_dir / EVALUATED)["detections"]
    dataset = read(data_root / annotation_file("val"))
    return matches.write(matches.Evaluated.of(dataset, detections), run_dir)


def _as_loaded(request: Request) -> Request:
    """Record in a request any code edited between its writing and the code's import."""
    if not request.code or (code := digests.merged(request.code, digests.code())) == request.code:
        return request
    return replace(request, code=code, dirty=True)


def _is_small_on_cpu(request: Request) -> bool:
    return request.profile.is_small and os.environ.get("CUDA_VISIBLE_DEVICES") == ""


def _workers(request: Request) -> int:
    """Return the number of processes that load images beside the training one.

    Zero if the profile seeds no image, on any device: augmentation would then depend on their
    number. Zero for single-threaded runs.
    """
    if not has_loaders(request.profile) or _is_small_on_cpu(request):
        return 0
    return min(LOADERS, request.cores or hardware.cores())


def _settings(request: Request, data_root: Path, run_dir: Path) -> dict[str, Any]:
    return config.for_machine(
        config.build(request.experiment, request.profile, request.seed),
        data_root=data_root,
        work_dir=run_dir,
        workers=_workers(request),
        gpus=request.gpus,
        max_iters=request.max_iters,
    )


def _record(request: Request, outcome: Outcome) -> RunRecord:
    ended: State = "finished" if request.max_iters is None else "capped"
    # Record the schedule used: SSD512's on COCO and Table 4's GFL's differ from the profile's.
    profile = replace(request.profile, schedule=schedule_of(request.experiment, request.profile))
    return RunRecord(
        id=request.id,
        experiment=asdict(request.experiment),
        profile=asdict(profile),
        seed=request.seed,
        commit=request.commit,
        dirty=request.dirty,
        versions={**(request.versions or digests.versions()), **_data_versions(request)},
        hardware=outcome.hardware,
        metrics=outcome.metrics,
        fps=outcome.fps,
        curve=outcome.curve,
        evals=outcome.evals,
        seconds=outcome.seconds,
        images_per_second=outcome.images_per_second,
        max_iters=request.max_iters,
        state="failed" if outcome.problem else ended,
        message=outcome.problem,
        started=outcome.started,
        code=request.code,
    )


def _data_versions(request: Request) -> dict[str, str]:
    """Return the identity of the data and features, where it may differ between machines."""
    spec, network = request.profile.photos, request.profile.model.frozen
    if spec is None or network is None:
        return {}
    from gfl.data.features import stored

    prepared = _photographs(spec, request.data_root)
    weights = stored.weights_of(prepared.root, network, spec.size)
    return {"photographs": prepared.images, "backbone": weights}


def _data(request: Request, emit: Emit) -> Path:
    """Return the data set's folder, drawing or preparing it if missing.

    Raises:
        UserError: COCO's folder is not given, or does not exist.
    """
    if request.profile.photos is not None:
        return _photographs(request.profile.photos, request.data_root, emit).root
    spec = request.profile.dataset
    if spec is None:
        root = coco_root(request.data_root)
        if not root.is_dir():
            raise UserError(f"{root} is not a folder")
        return root
    root = embedded_root(spec)

    def progress(done: int, total: int) -> None:
        emit("phase", name="drawing the embedded data set", done=done, of=total)

    embedded.write(spec, root, progress=progress, report=lambda text: emit("message", text=text))
    return root


def _photographs(
    spec: PhotosSpec, named: str | None, emit: Emit = lambda event, **content: None
) -> photos.Prepared:
    def progress(done: int, total: int) -> None:
        emit("phase", name="preparing the photographs", done=done, of=total)

    return photos.write(spec, Path(named) if named else None, photos_root(spec), progress)


def _compute_features(request: Request, root: Path, emit: Emit) -> None:
    """Compute the photographs' features for all loaders, unless the run has no photographs."""
    if request.profile.photos is None:
        return
    import gfl.register  # noqa: F401  before mmdet: it supplies mmcv's operators
    from gfl.data.features import stored

    def progress(done: int, total: int) -> None:
        emit("phase", name="computing the backbone's features", done=done, of=total)

    network, spec = request.profile.model.frozen, request.profile.photos
    assert network is not None
    assert spec is not None
    stored.write(root, network, spec.size, progress, lambda text: emit("message", text=text))


def photos_root(spec: PhotosSpec) -> Path:
    """Return the folder of the prepared photographs, named by what they should be."""
    return writable_or_cached(EMBEDDED / f"photos-{digest(asdict(spec))[:8]}")


def embedded_root(spec: embedded.ShapesSpec) -> Path:
    """Return the folder of the embedded data set, named by its content."""
    return writable_or_cached(EMBEDDED / f"shapes-{digest(asdict(spec))[:8]}")


def coco_root(named: str | None) -> Path:
    """Return COCO's folder; its content is checked once per table, not once per run.

    Raises:
        UserError: it is not given.
    """
    if not named:
        raise UserError("this needs COCO, and its folder is not named", lacks="coco")
    return Path(named)


def end(code: int) -> NoReturn:
    """End this process with an exit code, if need be without dismantling torch.

    That takes seconds, for which somebody waits after an interruption. And of several processes one
    may abort in it, in gloo's threads: a launcher would take a finished run for a failed one.
    """
    if code in (INTERRUPTED, PREEMPTED) or "RANK" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    terminal.as_utf8()
    terminal.prepare()
    end(main(sys.argv[1:]))
