"""Features of photographs by frozen networks: where weights come from, computing, keeping, loading.

Imports the rest of ``gfl.data``.
"""
