"""Imported by Python itself at start, wherever this folder is on its path (PYTHONPATH=.).

mmdet's own tools/test.py imports mmcv's operators before it reads a configuration, so before the
configuration's `custom_imports` can supply them.
"""

from gfl import ops

ops.install()
