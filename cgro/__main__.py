"""`python -m cgro` and the console command `cgro`."""

import os
import signal
import sys


def start() -> None:
    """Run the command line and end the process. Ctrl-C outside `main` ends it quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Figures are written to files: matplotlib must load even if the user's backend is missing.
    os.environ["MPLBACKEND"] = "agg"
    from cgro.base import interrupts
    from cgro.cli.main import main

    code = main()
    if code in interrupts.CODES:
        interrupts.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    start()
