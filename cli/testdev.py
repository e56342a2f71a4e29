"""``python -m experiments test-dev``: the file that COCO's server evaluates."""

from __future__ import annotations

import argparse

from cli.options import add_profile, add_seeds, chosen
from experiments import matrix
from experiments.profiles import PAPER_SCALE
from experiments.queue.machine import usable_cores
from gfl.data import coco
from gfl.errors import UserError
from gfl.terminal import say
from gfl.training.worker import LOADERS, coco_root

ABOUT = "detect on COCO's test-dev with a finished run, for the evaluation server"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("target", help="a run's id, or 'table-4/GFL R-50'")
    add_profile(parser, default=PAPER_SCALE)
    add_seeds(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"COCO's folder, with {coco.TEST_DEV} and {coco.TEST_IMAGES}/",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file of one run and say where it is.

    Raises:
        UserError: the run is not one or not finished, or test-dev's images are not there.
    """
    profile, store = chosen(args)
    if profile.is_small:
        raise UserError(f"test-dev is COCO's: --profile {PAPER_SCALE}, not {profile.name}")
    one = matrix.single(args.target, profile, args.seeds)
    if not matrix.is_finished(store.own(profile.name, one.id)):
        raise UserError(
            f"{one.id} is not finished on this machine: python -m experiments run {one.id} "
            f"--profile {profile.name} trains it"
        )
    root = coco_root(args.data)
    coco.check_test_dev(root)
    from gfl.predictions import testdev  # seconds, which a refused request need not wait for

    written = testdev.write(
        one.experiment,
        profile,
        one.seed,
        run_dir=store.run_dir(profile.name, one.id),
        data_root=root,
        workers=min(LOADERS, usable_cores()),
        tell=lambda text: say(text, error=True),
    )
    say(f"written: {written}; the server takes it as the only file of a zip archive")
    return 0
