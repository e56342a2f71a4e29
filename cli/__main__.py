"""Entry point ``python -m cli``: the command ``gfl`` where its script is not installed."""

import sys

from cli.main import script

if __name__ == "__main__":
    sys.exit(script())
