"""Pictures of one's own: read whatever kind of file it is, detect in it, draw what was found.

Imports any room of ``gfl``; none imports it.
"""
