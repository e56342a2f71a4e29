"""Predictions of trained detectors: stored, collected, matched with objects and sorted by error.

No training depends on it; imports the rooms that train but not ``gfl.pictures``.
"""
