"""``python -m gfl.training.worker``, with a pause in each iteration for a test to disturb it in."""

import sys
import time

from mmengine.hooks import Hook

from gfl.training import session, worker

SECONDS = 0.3


class Pause(Hook):
    priority = "LOWEST"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        time.sleep(SECONDS)


def slowed(make):
    def build(*arguments):
        runner = make(*arguments)
        runner.register_hook(Pause())
        return runner

    return build


if __name__ == "__main__":
    session._runner = slowed(session._runner)
    worker.end(worker.main(sys.argv[1:]))
