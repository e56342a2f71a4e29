"""Artefacts made from records; nothing here trains.

The root holds what all rooms use: records and predictions (library), images, the process pool.
Imports ``gfl`` and ``experiments``.
"""
