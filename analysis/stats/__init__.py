"""Statistical uncertainty: intervals over seeds and images, rank correlation, p-value correction.

Imports no other room of ``analysis``, only modules at its root.
"""
