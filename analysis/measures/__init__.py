"""Quantities that no table prints, measured on runs' predictions: distributions, labels, scores.

For claims and figures. Imports ``analysis.stats`` and ``analysis.errors``; from some figures still
their measurements.
"""
