"""How sure a number is: intervals over seeds and images, rank correlation, correction of p-values.

Imports no other room of ``analysis``, only what stands at its root.
"""
