"""Our head beside stock mmdet's, in one run: ``python -m benchmarks``, or ``make bench``.

Imports all other packages and is imported by none.
"""
