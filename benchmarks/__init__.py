"""Speed and memory: this head beside stock mmdet's, inference, the bootstrap (``gfl bench``).

Imports ``gfl``, ``experiments`` and ``analysis``; only ``cli`` imports it.
"""
