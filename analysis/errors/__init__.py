"""Detection errors by kind, as TIDE defines them: of runs, and of third-party weights.

Imports ``analysis.stats`` and ``analysis.tables``.
"""
