"""Quantities that no table prints, measured on what runs predicted: distributions, labels, scores.

For claims and figures. Imports ``analysis.stats`` and ``analysis.errors``; of some figures still
what they measure.
"""
