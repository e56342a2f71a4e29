"""Textures, backgrounds, clutter and paint for the embedded data set's images.

Canvases are float64 [H, W, 3] in 0..255. Only elementwise `+ - * /` and `sqrt` are used, so that
the pixels are the same on every machine.
"""

from __future__ import annotations

import numpy as np

from gfl.shapes.draws import Draws
from gfl.shapes.objects import extent, span

Colour = tuple[float, float, float]


def noise(height: int, width: int, cells: float, draws: Draws) -> np.ndarray:
    """Return smooth noise in [-1, 1], [H, W], with about `cells` bumps across the longer side."""
    longest = max(height, width)

    def along(length: int) -> tuple[np.ndarray, np.ndarray, int]:
        at = np.arange(length) * (cells / longest)
        whole = at.astype(np.int64)
        part = at - whole
        return whole, part * part * (3.0 - 2.0 * part), int(whole[-1]) + 2

    rows, down, tall = along(height)
    columns, right, wide = along(width)
    grid = 2.0 * draws.uniforms(tall, wide) - 1.0
    across = grid[:, columns] + (grid[:, columns + 1] - grid[:, columns]) * right
    return across[rows] + (across[rows + 1] - across[rows]) * down[:, None]


def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5


def stripes(height: int, width: int, period: float, draws: Draws) -> np.ndarray:
    """Return stripes in a random direction, in [-1, 1], [H, W]."""
    x, y = _axes(height, width)
    cos, sin = draws.rotation()
    phase = (x * cos + y * sin) / period + draws.uniform()
    wave = np.abs(4.0 * (phase - np.floor(phase)) - 2.0) - 1.0
    return np.clip(2.0 * wave, -1.0, 1.0)


def spot(size: int, draws: Draws, least: float, most: float) -> np.ndarray:
    """Return each pixel's depth in a random ellipse: 1 at the centre, 0 at the edge, < 0 outside.

    Its radii are between `least` and `most`, as fractions of the canvas.
    """
    x, y = _axes(size, size)
    x, y = x - draws.uniform(0.0, size), y - draws.uniform(0.0, size)
    cos, sin = draws.rotation()
    a, b = draws.uniform(least, most) * size, draws.uniform(least, most) * size
    u, v = (x * cos + y * sin) / a, (y * cos - x * sin) / b
    return 1.0 - u * u - v * v


def blend(canvas: np.ndarray, cover: np.ndarray, colour: np.ndarray | Colour) -> None:
    """Paint over a canvas, weighted by `cover` [H, W], in place."""
    box = extent(cover > 0.0)
    if box is None:
        return
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    paint = np.asarray(colour)
    paint = paint[part] if paint.ndim == 3 else paint
    canvas[part] += (paint - canvas[part]) * cover[part][:, :, None]


def muted(draws: Draws, low: float = 100.0, high: float = 195.0) -> Colour:
    """Draw a colour of low saturation, for backgrounds and clutter."""
    light = draws.uniform(low, high)
    red, green, blue = (light + draws.uniform(-22.0, 22.0) for _ in range(3))
    return red, green, blue


def background(size: int, base: Colour, draws: Draws) -> np.ndarray:
    """Draw a textured surface: bumps of several sizes, a light gradient, sometimes stripes."""
    light = 14.0 * noise(size, size, draws.uniform(1.5, 3.0), draws)
    light += 9.0 * noise(size, size, draws.uniform(6.0, 11.0), draws)
    light += draws.uniform(2.0, 9.0) * noise(size, size, draws.uniform(20.0, 40.0), draws)
    if draws.chance(0.4):
        period = draws.uniform(0.04, 0.14) * size
        light += draws.uniform(4.0, 11.0) * stripes(size, size, period, draws)
    x, y = _axes(size, size)
    cos, sin = draws.rotation()
    slope = draws.uniform(0.0, 30.0) / size
    light += slope * ((x - 0.5 * size) * cos + (y - 0.5 * size) * sin)
    canvas = np.asarray(base) + light[:, :, None]
    hue = noise(size, size, draws.uniform(1.5, 4.0), draws)
    canvas += hue[:, :, None] * np.asarray([draws.uniform(-10.0, 10.0) for _ in range(3)])
    return canvas


def _line(canvas: np.ndarray, draws: Draws) -> None:
    size = canvas.shape[0]
    x, y = _axes(size, size)
    cos, sin = draws.rotation()
    x, y = x - draws.uniform(0.0, size), y - draws.uniform(0.0, size)
    # A little curvature, so that not every clutter edge is straight.
    bend = draws.uniform(-0.5, 0.5) / size
    along, across = x * cos + y * sin, y * cos - x * sin
    across = across + bend * along * along
    half = draws.uniform(0.4, 1.1) * size / 128
    reach = draws.uniform(0.1, 0.5) * size
    cover = np.clip(half + 0.5 - np.abs(across), 0.0, 1.0)
    cover = cover * np.clip(reach - np.abs(along), 0.0, 1.0)
    blend(canvas, draws.uniform(0.4, 0.9) * cover, muted(draws, 40.0, 230.0))


def _blob(canvas: np.ndarray, draws: Draws) -> None:
    size = canvas.shape[0]
    inside = np.maximum(spot(size, draws, 0.05, 0.25), 0.0)
    blend(canvas, draws.uniform(0.3, 0.7) * inside, muted(draws, 60.0, 220.0))


def _hatching(canvas: np.ndarray, draws: Draws) -> None:
    size = canvas.shape[0]
    inside = np.clip(2.0 * spot(size, draws, 0.08, 0.22), 0.0, 1.0)
    period = draws.uniform(0.025, 0.06) * size
    wave = np.maximum(stripes(size, size, period, draws), 0.0)
    blend(canvas, 0.6 * inside * wave, muted(draws, 50.0, 225.0))


def _speckles(canvas: np.ndarray, draws: Draws) -> None:
    size = canvas.shape[0]
    inside = np.clip(2.0 * spot(size, draws, 0.08, 0.25), 0.0, 1.0)
    grain = np.clip(3.0 * noise(size, size, draws.uniform(25.0, 60.0), draws), -1.0, 1.0)
    canvas += (draws.uniform(15.0, 35.0) * inside * grain)[:, :, None]


def _loose_plank(canvas: np.ndarray, draws: Draws) -> None:
    """Draw a plank like those that occlude objects, with nothing behind it."""
    size = canvas.shape[0]
    thick, long = draws.uniform(0.03, 0.10) * size, draws.uniform(0.15, 0.6) * size
    x, y = draws.uniform(0.0, size), draws.uniform(0.0, size)
    if draws.chance(0.5):
        thick, long = long, thick
    cover = span(x, x + thick, size) * span(y, y + long, size)[:, None]
    paint_plank(canvas, cover, draws)


def clutter(canvas: np.ndarray, draws: Draws) -> None:
    """Draw lines, blobs, hatching, speckles and planks: clutter that is no object."""
    kinds = (_line, _line, _line, _blob, _blob, _hatching, _speckles, _loose_plank)
    for _ in range(draws.integer(4, 10)):
        draws.choice(kinds)(canvas, draws)


def paint_plank(canvas: np.ndarray, cover: np.ndarray, draws: Draws) -> None:
    """Paint an occluder: dull, with a grain along it, so that it is recognisable."""
    height, width = cover.shape
    rows, columns = cover.any(axis=1).sum(), cover.any(axis=0).sum()
    period = max(3.0, 0.3 * float(min(rows, columns)))
    at = np.arange(width) if columns < rows else np.arange(height)[:, None]
    phase = at / period + draws.uniform()
    grain = np.abs(4.0 * (phase - np.floor(phase)) - 2.0) - 1.0
    light = 16.0 * grain + 10.0 * noise(height, width, 0.25 * max(height, width), draws)
    colour = np.asarray(muted(draws, 60.0, 200.0)) + light[:, :, None]
    blend(canvas, cover, colour)


def distance(one: Colour, other: Colour) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def vivid(others: list[Colour], draws: Draws) -> Colour:
    """Draw a saturated colour, not too dark, as unlike `others` as eight draws allow."""
    best, apart = (0.0, 0.0, 0.0), -1.0
    for _ in range(8):
        high, low = draws.uniform(150.0, 250.0), draws.uniform(15.0, 90.0)
        middle = draws.uniform(low, high)
        red, green, blue = draws.shuffled((high, low, middle))
        colour = (red, green, blue)
        nearest = min(distance(colour, other) for other in others)
        if nearest > apart:
            best, apart = colour, nearest
        if apart > 170.0:
            break
    return best


def fill(height: int, width: int, colour: Colour, draws: Draws) -> np.ndarray:
    """Draw an object's surface: its colour with a light gradient, bumps and sometimes stripes."""
    x, y = _axes(height, width)
    cos, sin = draws.rotation()
    longest = max(height, width)
    slope = draws.uniform(10.0, 50.0) / longest
    light = slope * ((x - 0.5 * width) * cos + (y - 0.5 * height) * sin)
    light = light + 9.0 * noise(height, width, draws.uniform(3.0, 8.0), draws)
    if draws.chance(0.3):
        period = draws.uniform(0.1, 0.25) * longest
        light = light + 10.0 * stripes(height, width, max(3.0, period), draws)
    return np.asarray(colour) + light[:, :, None]


def finish(canvas: np.ndarray, draws: Draws) -> np.ndarray:
    """Return the image, uint8, with the grain of a sensor."""
    height, width, _ = canvas.shape
    octets = draws.octets(2, height, width, 3)
    grain = (octets[0] + octets[1] - 255) * (9.0 / 255.0)
    return np.floor(np.clip(canvas + grain, 0.0, 255.0) + 0.5).astype(np.uint8)
