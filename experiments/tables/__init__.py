"""The paper's tables as data: rows, factors and published numbers, and rows of one's own.

Imports ``gfl`` alone; imported by the claims, and by whatever runs or shows a table.
"""
