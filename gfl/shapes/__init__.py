"""The embedded data set: shapes with known boundary ambiguity, drawn identically on any machine.

A product of its own: imports no other room, only ``gfl.errors`` and ``gfl.files``.
"""
