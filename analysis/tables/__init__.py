"""Tables with their records: filled, laid out, annotated, ranked; for terminals, files, notebooks.

Imports ``analysis.stats``.
"""
