"""Records in, artefacts out; nothing here trains.

At the root what all rooms use: records and predictions (library), images, the pool of processes.
Imports ``gfl`` and ``experiments``.
"""
