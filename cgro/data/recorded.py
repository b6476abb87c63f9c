"""Files that a configuration names with the beginning of their digest, PATH@DIGEST.

Results of another content are then never taken for its own, and work on a file that changed meanwhile is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from cgro.base.errors import UserError

_RECORDED = re.compile(r"(.+)@([0-9a-f]{16})", re.DOTALL)


def digest(parts: Iterable[bytes]) -> str:
    """Sixteen hexadecimal digits that identify these bytes, one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def split(name: str) -> tuple[str, str | None]:
    """Path and digest of a name PATH@DIGEST; the name itself and None for any other one."""
    found = _RECORDED.fullmatch(name)
    return (found[1], found[2]) if found else (name, None)


def require_unchanged(what: str, recorded: str | None, now: str, advice: str) -> None:
    """Refuse a content with another digest than the one recorded, if one was. Raises: UserError."""
    if recorded not in (None, now):
        raise UserError(f"{what}: changed since it was recorded as {recorded}; {advice}")
