"""`python -m cgro` and the console command `cgro`."""

import signal
import sys


def start() -> None:
    """Run the command line and end the process. Where `main` does not listen, Ctrl-C ends it quietly."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cgro.cli import main

    sys.exit(main())


if __name__ == "__main__":
    start()
