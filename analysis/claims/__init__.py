"""The verdicts on the paper's claims: by its own printed numbers, and by this project's runs.

``verdicts.judge(store, source)`` gives all of them, ``render.files(verdicts)`` what to write,
``terminal.show(verdicts)`` prints them. Imports ``analysis.measures`` and ``analysis.stats``.
"""
