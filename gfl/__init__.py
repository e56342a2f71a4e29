"""Generalized Focal Loss, reproduced: the training core.

Importing the package costs nothing; ``gfl.losses``, ``gfl.boxes``, ``gfl.quality`` and
``gfl.assign`` need only torch and jaxtyping; ``gfl.register`` makes everything known to mmdet.
Imports no other package of this project, and the method no room of this one.
"""
