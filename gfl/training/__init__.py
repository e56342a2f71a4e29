"""One run: the worker that trains it, its session, checkpoints, loaders, hooks and metric.

Imports the method, ``gfl.config``, ``gfl.data``, ``gfl.shapes`` and ``gfl.records``; of
``gfl.predictions`` nothing but in the worker, which stores them when a training is over.
"""
