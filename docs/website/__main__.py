"""`python -m website [FOLDER]`: build the site, by default in build/docs, and print where it is."""

from __future__ import annotations

import sys
from pathlib import Path

from website.build import build
from website.ledger import ROOT


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    output = Path(arguments[0] if arguments else ROOT / "build" / "docs").resolve()
    code = build(output)
    if code == 0:
        print(f"Open {(output / 'html' / 'index.html').as_uri()}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
