"""``python -m experiments run|status|...``: see ``cli.experiments``, in full."""

import sys

from cli.experiments import main
from gfl import terminal

if __name__ == "__main__":
    terminal.as_utf8()
    sys.exit(main())
