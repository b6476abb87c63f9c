"""What a process that runs tests needs is in `shared_fixtures`; one that only distributes them starts without it."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Import the fixtures, and cgro with them, unless other processes run the tests."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("shared_fixtures")
