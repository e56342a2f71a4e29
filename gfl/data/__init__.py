"""Data for training and evaluation: COCO, photographs from it, the user's own; and their loading.

Imports ``gfl.shapes``; independent of models, runs and records.
"""
