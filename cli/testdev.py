"""``gfl test-dev``: the results file for COCO's evaluation server."""

from __future__ import annotations

from cli.options import SEEDS, PaperScale, Seeds
from experiments import matrix
from experiments.profiles import PAPER_SCALE
from experiments.queue.machine import usable_cores
from gfl.data import coco
from gfl.errors import UserError
from gfl.terminal import say
from gfl.training.worker import LOADERS, coco_root


def detect_test_dev(
    run: str,
    /,
    *,
    seeds: Seeds = SEEDS,
    data: str | None = None,
    where: PaperScale = PaperScale(),
) -> int:
    """Detect on COCO's test-dev with a finished run, for the evaluation server.

    Args:
        run: a run's id, or 'table-4/GFL R-50'
        data: COCO's folder, with annotations/image_info_test-dev2017.json and test2017/

    Raises:
        UserError: the run is not one or not finished, or test-dev's images are not there.
    """
    profile, store = where.found(), where.store()
    if profile.is_small:
        raise UserError(f"test-dev is COCO's: --profile {PAPER_SCALE}, not {profile.name}")
    one = matrix.single(run, profile, seeds)
    if not matrix.is_finished(store.local(profile.name, one.id)):
        raise UserError(f"{one.id} is not finished locally: {one.command} trains it")
    root = coco_root(data)
    coco.check_test_dev(root)
    from gfl.predictions import testdev  # takes seconds, after the checks

    written = testdev.write(
        one.experiment,
        profile,
        one.seed,
        run_dir=store.run_dir(profile.name, one.id),
        data_root=root,
        workers=min(LOADERS, usable_cores()),
        report=lambda text: say(text, error=True),
    )
    say(f"written: {written}; the server takes it as the only file of a zip archive")
    return 0
