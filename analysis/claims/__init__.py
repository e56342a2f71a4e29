"""Verdicts on the paper's claims: by its own printed numbers, and by this project's runs.

``verdicts.judge(store, source)`` returns all of them, ``render.files(verdicts)`` the files,
``terminal.show(verdicts)`` prints them. Imports ``analysis.measures`` and ``analysis.stats``.
"""
