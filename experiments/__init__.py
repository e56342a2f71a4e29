"""Tables, claims and profiles as data, and the queue that trains missing runs.

Imports only ``gfl``.
"""
