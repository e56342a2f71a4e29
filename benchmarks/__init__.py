"""Speed and memory: our head beside stock mmdet's, inference, the bootstrap (``gfl bench``).

May import ``gfl``, ``experiments`` and ``analysis``.
"""
