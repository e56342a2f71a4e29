"""The verdicts on the paper's claims: by its own printed numbers, and by this project's runs.

``verdicts.trial(store, source)`` gives all of them, ``render.files(trial)`` what to write,
``terminal.show(trial)`` prints them. Imports ``analysis.measures`` and ``analysis.stats``.
"""
