"""`python -m cgro` is the console command `cgro`."""

import sys

from cgro.cli import main

if __name__ == "__main__":
    sys.exit(main())
