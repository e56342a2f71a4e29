"""The paper's tables as data: rows, factors and published numbers, and additional rows.

Imports only ``gfl``; imported by the claims, and by everything that runs or prints a table.
"""
