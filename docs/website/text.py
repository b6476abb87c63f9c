"""Markdown from plain text: what docstrings, captions and ledgers say, shown literally."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_SPECIAL = re.compile(r"([\\*_\[\]<>#|~${}!^&])")
_ITEM = re.compile(r"\s+(?:[a-z0-9][.)]|-)\s")
_SECTION = re.compile(r"(Args|Attributes):$")


def plain(text: str) -> str:
    """Text on one line, with every character as it is; parts in backticks become code."""
    parts = re.split(r"(`+[^`]+`+)", " ".join(text.split()))
    shown = "".join(part if number % 2 else _SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts))
    return re.sub(r"^([-+]|\d+[.)])(?=\s)", r"\\\1", shown)


def shortened(text: str, length: int = 76) -> str:
    """The beginning of a statement, as a title: whole words, without its tags."""
    text = re.sub(r"\s*\[(?:[SNRDM]|measured|candidate|, )+\]", "", " ".join(text.split()))
    if len(text) <= length:
        return text
    kept = text[: length + 1]
    ends = [match.start() for match in re.finditer(r"[:;,.] |: ", kept) if match.start() > length // 2]
    return kept[: ends[-1]] if ends else kept.rpartition(" ")[0].rstrip(",;:") + " …"


def slug(text: str) -> str:
    """Lower-case words joined by hyphens, for the name of a page."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def fenced(code: str, language: str = "text") -> str:
    """A block of code, with a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code.strip(chr(10))}\n{fence}"


def collapsed(summary: str, source: str) -> str:
    """Python source that the reader may open; the search does not read it."""
    body = highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight"))
    inner = f'<details class="source"><summary>{html.escape(summary)}</summary>\n'
    return fenced(f'{inner}<div class="highlight-python notranslate">{body}</div></details>', "{raw} html")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Code in a cell of a table."""
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def image(path: str, alt: str, kind: str = "figure-image") -> str:
    """A picture that is loaded when it comes into view."""
    return fenced(f":alt: {' '.join(alt.split())}\n:loading: lazy\n:class: {kind}", f"{{image}} {path}")


def docstring(text: str | None) -> str:
    """A docstring as Markdown: paragraphs, indented blocks as code, lists, and a list of arguments."""
    return "\n\n".join(_blocks(inspect.cleandoc(text or "")))


def _blocks(text: str) -> Iterator[str]:
    code: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith("    "):
            code.append(block)
            continue
        if code:
            yield _code(code)
            code = []
        lines = block.splitlines()
        while lines:
            # A paragraph may be followed by an indented block without a blank line, as after "Args:".
            end = next((k for k, line in enumerate(lines) if k and _SECTION.match(line)), len(lines))
            yield from _paragraph(lines[:end])
            lines = lines[end:]
    if code:
        yield _code(code)


def _code(blocks: list[str]) -> str:
    code = inspect.cleandoc("\n" + "\n\n".join(blocks))
    return fenced(code, "pycon" if code.startswith(">>>") else "text")


def _paragraph(lines: list[str]) -> Iterator[str]:
    if lines and _SECTION.match(lines[0]):
        yield {"Args": "Arguments:"}.get(lines[0].rstrip(":"), lines[0])
        yield _arguments(lines[1:])
        return
    items = [k for k, line in enumerate(lines) if k and _ITEM.match(line)]
    starts = [0, *items, len(lines)]
    first, *others = [" ".join(lines[a:b]) for a, b in pairwise(starts) if b > a] or [""]
    if first.strip():
        yield plain(first)
    if others:
        yield "\n".join(f"- {plain(other)}" for other in others)


def _arguments(lines: list[str]) -> str:
    text = inspect.cleandoc("\n" + "\n".join(lines))
    entries = re.split(r"\n(?=\S)", text)
    found = []
    for entry in entries:
        name, _, words = entry.partition(":")
        found.append(f"- `{name.strip()}`: {plain(words)}" if words else f"- {plain(entry)}")
    return "\n".join(found)
