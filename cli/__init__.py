"""The command line: ``python -m experiments ...`` and ``python -m analysis ...`` call what is here.

The top floor: imports all packages and is imported by those two and by ``benchmarks`` alone.
"""
