"""Features of photographs by frozen networks: their weights, computation, storage and loading.

Imports the rest of ``gfl.data``.
"""
