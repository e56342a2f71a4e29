"""Generalized Focal Loss, reproduced: the training core.

Importing the package does one thing: it makes mmcv's native operators importable, which mmdet
imports. ``gfl.losses``, ``gfl.boxes``, ``gfl.quality`` and ``gfl.assign`` need only torch and
jaxtyping; ``gfl.register`` registers everything with mmdet. Imports no other package of this
project; the method imports no subpackage of ``gfl``.
"""

from gfl import ops

ops.install()
