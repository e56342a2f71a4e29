"""Benchmarks of speed and memory: their records, and what is written of them.

Imports ``analysis.text``.
"""
