"""Functions used only by notebooks: figures and pictures, sliders, equations.

Imports ``analysis.figures``.
"""
