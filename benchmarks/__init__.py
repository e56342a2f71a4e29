"""Speed and memory: our head beside stock mmdet's, inference, the bootstrap (``gfl bench``).

Imports ``gfl``, ``experiments`` and ``analysis``; ``cli`` alone imports it.
"""
