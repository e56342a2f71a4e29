"""The embedded data set: images of shapes whose boundary ambiguity is known, drawn anywhere alike.

A product of its own: imports no other room, only ``gfl.errors`` and ``gfl.files``.
"""
