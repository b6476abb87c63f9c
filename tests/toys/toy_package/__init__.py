"""Found by the registry of a process that has `tests/toys` on its path: `tests/tools.py` starts such processes."""
