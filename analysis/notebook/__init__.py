"""Functions that only the notebooks call: figures and pictures, sliders, equations.

Imports ``analysis.figures``.
"""
