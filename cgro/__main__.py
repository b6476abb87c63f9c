"""`python -m cgro` and the console command `cgro`."""

import os
import signal
import sys


def start() -> None:
    """Run the command line and end the process. Where `main` does not listen, Ctrl-C ends it quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Figures go to files: a user's backend, missing here perhaps, must not keep matplotlib from loading.
    os.environ["MPLBACKEND"] = "agg"
    from cgro.base import interrupts
    from cgro.cli.main import main

    code = main()
    if code in interrupts.CODES:
        interrupts.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    start()
