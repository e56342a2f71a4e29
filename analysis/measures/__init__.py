"""Quantities that no table prints, measured on runs' predictions: distributions, labels, scores.

For claims and figures, neither of which it imports; imports ``analysis.stats`` and
``analysis.errors``.
"""
