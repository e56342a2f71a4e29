"""``gfl audit``: verdicts on the claims, and committed files checked against their records.

Imports every room whose files it regenerates.
"""
