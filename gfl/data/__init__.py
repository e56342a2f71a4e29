"""What runs are trained and evaluated on: COCO, photographs of it, data of one's own; reading them.

Imports ``gfl.shapes``; knows nothing of models, runs or records.
"""
