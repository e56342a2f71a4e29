"""Queue that trains missing runs: workers, locks, machine shares, progress, estimates.

Imports the modules that list runs and stale ones (matrix, stale, checkout), and ``gfl``.
"""
