"""Runs and their provenance: identity, request, record, store; digests of the code.

Imports ``gfl.config``, from which a run's id is made, and nothing of training or predictions.
"""
