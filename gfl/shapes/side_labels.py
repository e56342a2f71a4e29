"""Distributions of the labels of a box's sides, and draws from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from gfl.shapes.draws import Draws

SIDES = ("left", "top", "right", "bottom")
Kind = Literal["sharp", "blurred", "shadow", "occluded"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARP, AMBIGUOUS = KINDS[0], KINDS[1:]

# A Gaussian label beyond this is drawn again, so that boxes stay in the image and keep a minimum
# size. It affects one label in 16 000.
CUT_SIGMAS = 4.0
_DECIMALS = 2  # of a pixel, in the annotation file; labels are drawn from the rounded parameters


def pixels(value: float) -> float:
    """Round a coordinate as in the annotation file."""
    return round(value, _DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


@dataclass(frozen=True)
class Point:
    """Side that everybody would draw in the same place."""

    at: float

    def support(self) -> tuple[float, float]:
        return self.at, self.at

    def draw(self, draws: Draws) -> float:
        return self.at

    def moved(self, by: float) -> Point:
        return Point(pixels(self.at + by))

    def as_json(self) -> dict[str, Any]:
        return {"type": "point", "at": self.at}


@dataclass(frozen=True)
class Gaussian:
    """Side that fades: labels scatter around the middle of the fade."""

    mean: float
    sigma: float

    def support(self) -> tuple[float, float]:
        reach = CUT_SIGMAS * self.sigma
        return self.mean - reach, self.mean + reach

    def draw(self, draws: Draws) -> float:
        while abs(z := draws.normal()) > CUT_SIGMAS:
            pass
        return pixels(self.mean + self.sigma * z)

    def moved(self, by: float) -> Gaussian:
        return Gaussian(pixels(self.mean + by), pixels(self.sigma))

    def as_json(self) -> dict[str, Any]:
        return {"type": "gaussian", "mean": self.mean, "sigma": self.sigma}


@dataclass(frozen=True)
class Modes:
    """Side with two valid answers: without and with the shadow, visible and whole extent."""

    at: tuple[float, float]
    p: tuple[float, float]

    def support(self) -> tuple[float, float]:
        return min(self.at), max(self.at)

    def draw(self, draws: Draws) -> float:
        return self.at[0] if draws.chance(self.p[0]) else self.at[1]

    def moved(self, by: float) -> Modes:
        return Modes((pixels(self.at[0] + by), pixels(self.at[1] + by)), self.p)

    def as_json(self) -> dict[str, Any]:
        return {"type": "modes", "at": list(self.at), "p": list(self.p)}


@dataclass(frozen=True)
class Side:
    """Side with the kind of its ambiguity and the distribution of its label, in image pixels."""

    kind: Kind
    distribution: Point | Gaussian | Modes

    def moved(self, by: float) -> Side:
        return Side(self.kind, self.distribution.moved(by))

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "distribution": self.distribution.as_json()}


def annotation(sides: dict[str, Side], category_id: int, draws: Draws) -> dict[str, Any]:
    """Draw a COCO annotation's box from its sides' distributions, each independently.

    The distributions are stored under `sides`, a key that COCO's tools ignore.
    """
    left, top, right, bottom = (sides[side].distribution.draw(draws) for side in SIDES)
    width, height = pixels(right - left), pixels(bottom - top)
    return {
        "category_id": category_id,
        "bbox": [left, top, width, height],
        "area": round(width * height, 2 * _DECIMALS),
        "iscrowd": 0,
        "segmentation": [],
        "sides": {side: sides[side].as_json() for side in SIDES},
    }
