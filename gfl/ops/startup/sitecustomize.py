"""Import hook for mmdet's own tools: Python imports it at startup if this folder is on its path.

mmdet's tools/test.py imports mmcv's operators before it reads a configuration, so before the
configuration's `custom_imports` can supply them. The project's folder must be on the path, too.
"""

import gfl  # noqa: F401  makes mmcv's operators importable
