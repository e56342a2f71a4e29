"""A slider redraws; where there is no widget there is a picture."""

from __future__ import annotations

import base64

from matplotlib.figure import Figure

from analysis.notebook.sliders import Explorer, Slider, png


def square(side: float, colour: float) -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.add_axes((0, 0, side, 1)).set_facecolor(str(colour))
    return figure


def explorer() -> Explorer:
    return Explorer(square, Slider("side", 0.2, 1, 0.1, 0.5), Slider("grey", 0, 1, 0.5, 1))


def test_it_starts_where_its_sliders_do() -> None:
    assert explorer().picture.value == png(square(0.5, 1.0))


def test_a_move_draws_again() -> None:
    made = explorer()
    made.sliders[0].value = 0.9
    assert made.picture.value == png(square(0.9, 1.0))
    made.sliders[1].value = 0
    assert made.picture.value == png(square(0.9, 0.0))


def test_without_widgets_the_picture_is_shown() -> None:
    bundle = explorer()._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == png(square(0.5, 1.0))
    assert bundle["text/plain"] == "at side = 0.5, grey = 1"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_picture_is_the_same_bytes_again() -> None:
    assert png(square(0.5, 1.0)) == png(square(0.5, 1.0))
