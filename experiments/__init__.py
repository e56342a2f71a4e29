"""What is run: tables, claims and profiles as data, and the queue that trains what is missing.

Imports ``gfl`` alone.
"""
