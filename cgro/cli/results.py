"""`cgro results`: list, open, compare, export and check stored results, and say what may be deleted."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from cgro.base.errors import UserError
from cgro.base.files import remove_leftover, write_whole
from cgro.cli.reading import Page, Rest
from cgro.cli.tables import print_table
from cgro.cli.values import Flag, Folder, Results
from cgro.cli.work import results_folder
from cgro.runs.registry import did_you_mean

if TYPE_CHECKING:  # imported where work begins
    import xarray as xr

    from cgro.runs.inventory import Removable, Result

ACTIONS = ("list", "show", "compare", "export", "check", "clean")
DIFFERENT = DAMAGED = 1
Words = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[ACTION [WORD ...]]")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Stored results.

    list [EXPERIMENT ...]: the results in a folder, and the finished cells. show FILE: one result, its configuration and
    provenance. compare FILE FILE, or FOLDER FOLDER: how they differ. export FILE: its values as CSV. check: read
    every byte of the folder and name what is damaged. clean: what may be deleted; nothing is, unless --delete asks.
    """

    words: Words = ("list",)
    """list, show, compare, export, check or clean, and on what. FILE: a path, or how the name of a file begins."""
    results: Results = field(default_factory=results_folder)
    where: tuple[str, ...] = ()
    """list only results whose configuration has these values, FIELD=VALUE."""
    output: Folder[Path | None] = None
    """Folder for the tables of export; by default this one."""
    delete: tuple[str, ...] = ()
    """Kinds of files that clean deletes: leftovers, damaged, outdated, unfinished, cells."""
    tolerance: float = 0.0
    """Differences that compare accepts, relative to the largest absolute value of a variable."""
    json: Flag = False
    """Print JSON."""


def page(_words: Sequence[str]) -> Page:
    """The help page."""
    return Page("cgro results", about=" ".join((Options.__doc__ or "").split()))


def run(options: Options, _rest: Rest) -> int:
    """Do what the first word says."""
    action, words = options.words[0] if options.words else "list", options.words[1:]
    if action not in ACTIONS:
        hint = did_you_mean(action, ACTIONS, cutoff=0.6)
        raise UserError(f"results {action!r}: unknown; {hint}choose one of {', '.join(ACTIONS)}")
    _require_fitting(options, action)
    if not options.results.is_dir() and action in ("list", "check", "clean"):
        raise UserError(
            f"folder {options.results}: not found; run an experiment first, or name a folder with --results"
        )
    return {"list": _list, "show": _show, "compare": _compare, "export": _export, "check": _check, "clean": _clean}[
        action
    ](options, words)


def _require_fitting(options: Options, action: str) -> None:
    """Refuse options and words that the action would ignore."""
    given = {"where": options.where, "output": options.output, "delete": options.delete, "tolerance": options.tolerance}
    used = {"list": ["where"], "export": ["output"], "clean": ["delete"], "compare": ["tolerance"]}.get(action, [])
    for name, value in given.items():
        if value and name not in used:
            raise UserError(f"--{name}: `cgro results {action}` has no such option; see `cgro results --help`")
    count, counts = len(options.words) - 1, {"show": 1, "export": 1, "compare": 2, "check": 0, "clean": 0}
    if action in counts and count != counts[action]:
        raise UserError(
            f"results {action}: takes {counts[action] or 'no'} FILE, got {count}; see `cgro results --help`"
        )
    if "" in options.words:
        raise UserError(f"results {action}: FILE must not be empty")
    if not options.tolerance >= 0:
        raise UserError(f"--tolerance must be at least 0, got {options.tolerance:g}")


def _list(options: Options, words: Sequence[str]) -> int:
    from cgro.runs import inventory
    from cgro.runs.registry import require

    for name in words:
        require("experiment", name)
    pairs = [_field_and_value(text) for text in options.where]
    found = [
        result
        for result in inventory.results_in(options.results, words)
        if all(inventory.matches(result, *pair) for pair in pairs)
    ]
    cells = {} if options.where else inventory.cell_files_in(options.results)
    if words:
        cells = {path: count for path, count in cells.items() if path.parent.parent.name in words}
    if options.json:
        print(json.dumps([_described(result) for result in found], indent=2))
        return 0
    rows = [
        (
            result.experiment or "unreadable",
            result.settings or "quick",
            str(result.attributes.get("created", ""))[:16].replace("T", " "),
            _duration(result.attributes.get("wall_seconds")),
            str(result.attributes.get("git_commit", ""))[:7],
            _amount(result.bytes),
            str(result.path.relative_to(options.results)),
        )
        for result in found
    ]
    if rows or not cells:
        _print_table(("experiment", "options", "created", "time", "commit", "size", "file"), rows)
    if sys.stdout.isatty():
        for path, count in cells.items():
            place = path.parent.relative_to(options.results)
            print(f"{place}: {count:,} finished cells, {_amount(path.stat().st_size)}")
        if not rows:
            print("no results" + (" with these values" if options.where else ""))
    return 0


def _show(options: Options, words: Sequence[str]) -> int:
    path, result = _opened(words[0], options)
    from cgro.runs.inventory import Result

    entry = Result(path, path.stat().st_size, result.attrs)
    if options.json:
        print(json.dumps(_described(entry) | {"variables": _variables(result)}, indent=2))
        return 0
    print(f"{path}: {_amount(entry.bytes)}")
    for name in ("experiment", "command", "created", "wall_seconds", "git_commit", "device", "library_versions"):
        if name in result.attrs:
            print(f"  {name}: {result.attrs[name]}")
    print("configuration")
    for name, value in entry.config.items():
        print(f"  {name}: {json.dumps(value)}")
    _print_table(
        ("variable", "dimensions", "unit", "smallest", "largest", "meaning"),
        [tuple(str(v) for v in each.values()) for each in _variables(result)],
    )
    return 0


def _compare(options: Options, words: Sequence[str]) -> int:
    """Compare two files, or the files of two folders that have one name."""
    first, second = Path(words[0]), Path(words[1])
    if first.is_dir() != second.is_dir():
        raise UserError(f"results compare: {words[0]} and {words[1]} must both be files or both be folders")
    if not first.is_dir():
        return _compare_files(_opened(words[0], options), _opened(words[1], options), options)
    names = [sorted(str(p.relative_to(each)) for p in each.glob("**/*.nc")) for each in (first, second)]
    code = 0
    for k, (there, other) in enumerate(((names[0], names[1]), (names[1], names[0]))):
        for name in there:
            if name not in other:
                print(f"{name}: only in {(first, second)[k]}")
                code = DIFFERENT
    both = [name for name in names[0] if name in names[1]]
    if not both:
        raise UserError(f"results compare: no file of {first} has the name of one of {second}; compare two files")
    for name in both:
        print(name)
        code |= _compare_files(_opened(str(first / name), options), _opened(str(second / name), options), options)
    return code


def _compare_files(one: tuple[Path, xr.Dataset], two: tuple[Path, xr.Dataset], options: Options) -> int:
    from cgro.runs import inventory

    configs = [inventory.Result(path, 0, result.attrs).config for path, result in (one, two)]
    fields = inventory.changed_fields(*configs)
    found = inventory.differences(one[1], two[1])
    beyond = [d for d in found if not d.relative <= options.tolerance or (d.words and not d.largest >= 0)]
    if options.json:
        print(
            json.dumps(
                {
                    "fields": fields,
                    "variables": [
                        {"name": d.name, "difference": d.words}
                        | {key: value if np.isfinite(value) else None for key, value in d.sizes.items()}
                        for d in found
                    ],
                    "equal": not beyond,
                },
                indent=2,
            )
        )
        return DIFFERENT if beyond else 0
    for name, (a, b) in fields.items():
        print(f"  {name}: {json.dumps(a)} and {json.dumps(b)}")
    rows = [(d.name, d.words, f"{d.largest:.3g}", f"{d.relative:.3g}") for d in found if d.words]
    if rows:
        _print_table(("variable", "difference", "largest", "relative"), rows)
    same = len(found) - len(beyond)
    limit = f" within {options.tolerance:g}" if options.tolerance else ""
    print(f"{same} of {len(found)} variables and coordinates are equal{limit}")
    return DIFFERENT if beyond else 0


def _export(options: Options, words: Sequence[str]) -> int:
    """One CSV for each set of dimensions: a row for each cell of the array, a column for each variable."""
    path, result = _opened(words[0], options)
    folder = options.output or Path()
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, variable in result.data_vars.items():
        groups.setdefault(tuple(map(str, variable.dims)), []).append(str(name))
    for dims, names in groups.items():
        text = io.StringIO(newline="")
        table = result[names].drop_vars([c for c in result[names].coords if c not in dims])
        frame = table.to_dataframe() if dims else table.to_pandas().to_frame().T
        frame.to_csv(text, index=bool(dims), lineterminator="\n")
        file = folder / f"{path.stem}-{'-'.join(dims) or 'values'}.csv"
        write_whole(file, text.getvalue().encode())
        print(file)
    return 0


def _check(options: Options, _words: Sequence[str]) -> int:
    from cgro.runs import inventory

    damaged = list(inventory.damaged_in(options.results))
    results, cells = len(inventory.results_in(options.results)), sum(inventory.cell_files_in(options.results).values())
    if options.json:
        print(json.dumps([{"file": str(path), "problem": words} for path, words in damaged], indent=2))
        return DAMAGED if damaged else 0
    for _, words in damaged:
        print(words)
    print(f"{results:,} results and {cells:,} cells: {f'{len(damaged)} files damaged' if damaged else 'all intact'}")
    return DAMAGED if damaged else 0


def _clean(options: Options, _words: Sequence[str]) -> int:
    import shutil

    from cgro.runs import inventory

    for kind in options.delete:
        if kind not in inventory.WHY:
            raise UserError(f"--delete must be one or more of {', '.join(inventory.WHY)}, got {kind!r}")
    found = inventory.removable_in(options.results)
    if options.json:
        print(json.dumps([{"kind": r.kind, "path": str(r.path), "bytes": r.bytes} for r in found], indent=2))
    else:
        _print_removable(found, options.results)
    for each in found:
        if each.kind in options.delete:
            if each.kind == "leftovers":
                remove_leftover(each.path)
            elif each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
    if options.delete and not options.json:
        gone = [each for each in found if each.kind in options.delete]
        print(f"deleted {len(gone)} files and folders, {_amount(sum(each.bytes for each in gone))}")
    elif found and not options.json:
        kinds = " ".join(dict.fromkeys(each.kind for each in found))
        print(f"nothing is deleted; `cgro results clean --delete {kinds}` deletes all of these, or name some")
    return 0


def _print_removable(found: Sequence[Removable], folder: Path) -> None:
    from cgro.runs.inventory import WHY

    counts = Counter(each.kind for each in found)
    for kind, why in WHY.items():
        if counts[kind]:
            own = [each for each in found if each.kind == kind]
            print(f"{kind}: {counts[kind]} files or folders, {_amount(sum(each.bytes for each in own))} ({why})")
            for each in own[:10]:
                print(f"  {each.path.relative_to(folder)}  {_amount(each.bytes)}")
            if len(own) > 10:
                print(f"  and {len(own) - 10} more")
    if not found:
        print("nothing to delete")


def _opened(text: str, options: Options) -> tuple[Path, xr.Dataset]:
    """The result that a path names, or the beginning of the name of a file in the folder of results."""
    from cgro.runs import store

    path = Path(text)
    if not path.exists():
        path = _named(text, options.results)
    if path.is_dir():
        raise UserError(f"{text}: a folder; give a result file")
    return path, store.load(path)


def _named(text: str, folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("**/*.nc")) if path.name.startswith(text)]
    if not found:
        raise UserError(
            f"{text}: no such file, and no result in {folder} has a name that begins so; see `cgro results`"
        )
    if len(found) > 1:
        some = ", ".join(path.name for path in found[:3])
        raise UserError(f"{text}: {len(found)} results in {folder} begin so ({some}, ...); give more of the name")
    return found[0]


def _field_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UserError(f"--where must be FIELD=VALUE, got {text!r}")
    return name.replace("-", "_"), value


def _described(result: Result) -> dict[str, Any]:
    """A result as JSON."""
    kept = ("command", "created", "wall_seconds", "git_commit", "device")
    return {
        "file": str(result.path),
        "experiment": result.experiment,
        "config": result.config,
        "bytes": result.bytes,
        **{name: result.attributes.get(name) for name in kept},
    }


def _variables(result: xr.Dataset) -> list[dict[str, str]]:
    rows = []
    for name, variable in result.variables.items():
        values = variable.values
        numbers = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        ends = ("", "") if values.dtype.kind not in "biuf" or not numbers.size else (numbers.min(), numbers.max())
        rows.append(
            {
                "name": str(name),
                "dimensions": ", ".join(f"{dim} {size}" for dim, size in variable.sizes.items()),
                "unit": str(variable.attrs.get("units", "")),
                "smallest": f"{ends[0]:.4g}" if ends[0] != "" else "",
                "largest": f"{ends[1]:.4g}" if ends[1] != "" else "",
                "meaning": str(variable.attrs.get("long_name", "")),
            }
        )
    return rows


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, else lines separated by tabs."""
    if not sys.stdout.isatty():
        print("\t".join(headings))
        for row in rows:
            print("\t".join(" ".join(str(cell).split()) for cell in row))
        return
    print_table(headings, rows, right=("time", "size", "smallest", "largest", "relative"))


def _amount(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
