"""``python -m analysis table|figure|...``: see ``cli.analysis``, in full."""

import sys

from cli.analysis import main
from gfl import terminal

if __name__ == "__main__":
    terminal.as_utf8()
    sys.exit(main())
