"""Detection errors by kind, as TIDE defines them: of runs, and of weights that others trained.

Imports ``analysis.stats`` and ``analysis.tables``.
"""
