"""Generalized Focal Loss, reproduced: the training core.

Importing the package costs nothing. ``gfl.losses``, ``gfl.boxes``, ``gfl.quality`` and
``gfl.assign`` need only torch and jaxtyping; ``gfl.register`` registers everything with mmdet.
Imports no other package of this project; the method imports no subpackage of ``gfl``.
"""
