"""Training of one run: worker, session, checkpoints, loaders, hooks and metric.

Imports the method, ``gfl.config``, ``gfl.data``, ``gfl.shapes`` and ``gfl.records``; of
``gfl.predictions`` only in the worker, which stores predictions after training.
"""
