"""Data sets of one's own in COCO's, YOLO's or Pascal VOC's layout: found, read and checked.

Imports the rest of ``gfl.data``. No table's run depends on it.
"""
