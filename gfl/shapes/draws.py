"""Random numbers identical on every machine and in every version of numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# The tangent of pi / 8: t in [-TAN, TAN) covers a quarter turn, see `rotation`.
_TAN_PI_8 = math.sqrt(2.0) - 1.0


class Draws:
    """Random draws from PCG64, keyed by integers.

    numpy guarantees the stream of a bit generator, but not `Generator`'s methods, and libms differ
    between machines in the last bit. So everything here is computed from raw integers with
    `+ - * / sqrt` and comparisons, which IEEE 754 defines exactly.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def uniforms(self, *shape: int) -> np.ndarray:
        """Draw an array of numbers in [0, 1), float64."""
        raw = self._bits.random_raw(math.prod(shape))
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def octets(self, *shape: int) -> np.ndarray:
        """Draw an array of integers in 0..255, int16: eight from each raw number."""
        count = math.prod(shape)
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count].astype(np.int16).reshape(shape)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, p: float) -> bool:
        return self.uniform() < p

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        rest = list(options)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in range(len(rest))]

    def log_uniform(self, low: float, high: float) -> float:
        """Draw a number in [low, high) whose logarithm is uniform, to 1 part in 2^16.

        The power is built from square roots, one for each binary digit of the exponent.
        """
        value, root = low, high / low
        for bit in format(self.integer(0, 2**16 - 1), "016b"):
            root = math.sqrt(root)
            if bit == "1":
                value *= root
        return value

    def rotation(self, limit: float | None = None) -> tuple[float, float]:
        """Draw the cosine and sine of a random angle, nearly uniform.

        From t, the tangent of half the angle: cos = (1 - t^2) / (1 + t^2), sin = 2t / (1 + t^2).
        `limit` bounds |t|; without it the angle covers the full circle.
        """
        t = self.uniform(-1.0, 1.0) * (_TAN_PI_8 if limit is None else limit)
        cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        if limit is None:
            for _ in range(self.integer(0, 3)):
                cos, sin = -sin, cos
        return cos, sin

    def normal(self) -> float:
        """Draw from the standard normal distribution, by comparing uniform numbers only.

        Karney, "Sampling exactly from the normal distribution" (2016), algorithm N.
        """
        while True:
            k = 0
            while self._exp_chance(0.5):
                k += 1
            if not all(self._exp_chance(0.5) for _ in range(k * (k - 1))):
                continue
            x = self.uniform()
            if all(self._exp_chance(x * (2 * k + x) / (2 * k + 2)) for _ in range(k + 1)):
                return k + x if self.chance(0.5) else -k - x

    def _exp_chance(self, p: float) -> bool:
        """Return True with probability exp(-p), p in [0, 1], by von Neumann's descending runs."""
        length, last = 0, p
        while (u := self.uniform()) < last:
            length, last = length + 1, u
        return length % 2 == 0
