"""What trained detectors predict: on disk, collected, matched with objects and sorted by error.

No training depends on it; imports the rooms that train but not ``gfl.pictures``.
"""
