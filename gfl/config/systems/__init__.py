"""Table 4's systems as mmdet configurations: bundled files, declared differences, small versions.

Imports ``gfl.experiment`` and ``gfl.config``; the detectors themselves are in ``gfl.systems``.
"""
