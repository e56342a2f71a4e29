"""The user's own pictures: read from any supported format, detected in, and drawn with results.

Imports any room of ``gfl``; none imports it.
"""
