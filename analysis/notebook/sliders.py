"""Pictures with sliders, for notebooks: live in JupyterLab, static elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures import style

DPI = 130  # of pictures in notebooks: the page width is 880 px


@dataclass(frozen=True)
class Slider:
    """Number set by the reader: from ``low`` to ``high`` in steps, initially ``start``."""

    label: str
    low: float
    high: float
    step: float
    start: float

    def widget(self) -> ipywidgets.FloatSlider:
        """Return the slider widget, which triggers drawing on release, not during motion."""
        return ipywidgets.FloatSlider(
            self.start, min=self.low, max=self.high, step=self.step, description=self.label,
            continuous_update=False,
        )  # fmt: skip


class Explorer:
    """Figure that is redrawn at every move of its sliders.

    ``draw`` is called with the sliders' values, in their order. Jupyter receives the widget and,
    where widgets are unavailable (a committed notebook, read on the web), the initial picture.
    """

    def __init__(self, draw: Callable[..., Figure], *sliders: Slider) -> None:
        self.draw = draw
        self.sliders = [slider.widget() for slider in sliders]
        self.picture = ipywidgets.Image(value=self.png(), format="png")
        self.box = ipywidgets.VBox(
            [*self.sliders, self.picture],
            layout={"align_items": "flex-start"},  # otherwise the picture is stretched to the page
        )
        for slider in self.sliders:
            slider.observe(self._update, names="value")

    def png(self) -> bytes:
        """Return the picture at the sliders' current values."""
        return png(self.draw(*(slider.value for slider in self.sliders)))

    def _update(self, _: object) -> None:
        self.picture.value = self.png()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        start = ", ".join(f"{s.description} = {s.value:g}" for s in self.sliders)
        bundle = self.box._repr_mimebundle_() or {}
        picture = base64.b64encode(self.picture.value).decode()
        return {**bundle, "image/png": picture, "text/plain": f"at {start}"}


def png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes, identical for identical figures."""
    out = io.BytesIO()
    with style.applied():
        FigureCanvasAgg(figure)
        figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()
