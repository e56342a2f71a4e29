"""What a run is and what trained it: identity, request, record, store; digests of the code.

Imports ``gfl.config``, of which a run's id is made, and nothing of training or predictions.
"""
