"""Imported by Python itself at start, where this folder is on its path: before mmdet's own tools.

mmdet's tools/test.py imports mmcv's operators before it reads a configuration, so before the
configuration's `custom_imports` can supply them. The project's folder has to be on the path, too.
"""

from gfl import ops

ops.install()
