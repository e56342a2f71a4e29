"""The paper's figures and three more, each a function of a library and a profile.

Imports ``analysis.measures`` and ``analysis.stats``.
"""

from analysis.figures import (  # noqa: F401  each declares its figures
    ambiguity,
    calibration,
    fig1,
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    fig8,
    fig9,
    figure,
    simulation,
)

# In the paper's order, whatever the order of the modules above.
FIGURES = dict(sorted(figure.FIGURES.items(), key=lambda item: (not item[0][0].isdigit(), item[0])))
