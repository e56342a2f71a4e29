"""Command line ``gfl``: arguments, output, exit codes; all work is done by other packages.

The top floor: may import every package, and nothing imports it.
"""
