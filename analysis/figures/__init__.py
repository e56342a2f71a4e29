"""The paper's figures and three more, each a function of a library and a profile.

Imports ``analysis.measures`` and ``analysis.stats``.
"""

from analysis.figures import figure
from analysis.figures.ambiguity import ambiguity
from analysis.figures.calibration import calibration
from analysis.figures.fig1 import fig1
from analysis.figures.fig2 import fig2a, fig2b
from analysis.figures.fig3 import fig3
from analysis.figures.fig4 import fig4
from analysis.figures.fig5 import fig5a, fig5b, fig5c
from analysis.figures.fig6 import fig6
from analysis.figures.fig7 import fig7
from analysis.figures.fig8 import fig8
from analysis.figures.fig9 import fig9
from analysis.figures.simulation import simulation

# In the paper's order, whatever the order of the modules above.
FIGURES = dict(sorted(figure.FIGURES.items(), key=lambda item: (not item[0][0].isdigit(), item[0])))

__all__ = [
    "FIGURES",
    "ambiguity",
    "calibration",
    "fig1",
    "fig2a",
    "fig2b",
    "fig3",
    "fig4",
    "fig5a",
    "fig5b",
    "fig5c",
    "fig6",
    "fig7",
    "fig8",
    "fig9",
    "simulation",
]
