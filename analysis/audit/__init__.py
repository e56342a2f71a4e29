"""``gfl audit``: the claims on trial, and what is committed held to its records.

Imports every room whose files it makes again.
"""
