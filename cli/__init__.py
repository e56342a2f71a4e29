"""The one command, ``gfl``: its arguments, its output, its exit codes; the rest is called.

The top floor: may import every package, and nothing imports it.
"""
