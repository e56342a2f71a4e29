"""The queue that trains missing runs: workers, locks, shares of the machine, progress, estimates.

Imports what says which runs there are and what is stale (matrix, stale, checkout), and ``gfl``.
"""
