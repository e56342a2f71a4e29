"""Signals that ask a worker to store a checkpoint and end: of a cluster, or a machine shut down.

While a model trains, a signal is only noted: the loop finishes the iteration at hand and stores an
exact checkpoint. Anywhere else (data, evaluation, timing, predictions) the newest checkpoint has
all that training has done, and the process ends at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading

PREEMPTED = 75  # exit code; sysexits.h's EX_TEMPFAIL: the same command goes on
GRACE = 30.0  # s from a signal to the end, as torch's launcher and most clusters allow
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Preempted(BaseException):
    """End of a process that was asked to, with all that it did in a checkpoint.

    ``epoch`` and ``iter`` are those of the checkpoint, as far as this process has trained.
    """

    def __init__(self, epoch: int = 0, iter: int = 0) -> None:
        super().__init__(epoch, iter)
        self.epoch, self.iter = epoch, iter


class Preemption:
    """Answer of one process to SIGNALS, from ``listen`` on."""

    def __init__(self) -> None:
        self.is_requested = False
        self.is_deferred = False
        self._at = (0, 0)
        self._is_noted = False
        self._arrivals: int | None = None  # file descriptor: a byte for each signal

    def listen(self) -> None:
        """Handle the signals; only in a process's main thread, else nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._arrivals, notes = os.pipe()
            for end in (self._arrivals, notes):
                os.set_blocking(end, False)
            signal.set_wakeup_fd(notes, warn_on_full_buffer=False)
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def has_arrived(self) -> bool:
        """Return whether a signal arrived, even if the main thread has yet to handle it.

        It does not while it waits in C++, as for another process's part of a sum.
        """
        if self._arrivals is not None and not self._is_noted:
            with contextlib.suppress(BlockingIOError):  # none
                self._is_noted = any(number in SIGNALS for number in os.read(self._arrivals, 4096))
        return self.is_requested or self._is_noted

    def defer(self) -> None:
        """Note further signals for the training loop, which looks after each iteration."""
        self.is_deferred = True

    def at_once(self, epoch: int, iter: int) -> None:
        """End at further signals where they arrive: the checkpoint of this iteration is stored.

        Raises:
            Preempted: a signal was noted before.
        """
        self.is_deferred, self._at = False, (epoch, iter)
        if self.is_requested:
            raise Preempted(epoch, iter)

    def _handle(self, number: int, frame: object) -> None:
        already, self.is_requested = self.is_requested, True
        # Once: a second signal must not interrupt the ending that the first began.
        if not self.is_deferred and not already:
            raise Preempted(*self._at)


preemption = Preemption()  # of this process
