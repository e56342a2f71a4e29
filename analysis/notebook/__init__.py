"""What only the notebooks call: figures and pictures as they show them, sliders, equations.

Imports ``analysis.figures``.
"""
