"""What a figure needs of a result, examined before it is drawn."""

from __future__ import annotations

from types import ModuleType

import xarray as xr

from cgro.errors import UserError


def require_drawable(module: ModuleType, name: str, result: xr.Dataset) -> None:
    """Refuse a result without the variables of the figure's NEEDS, in their dimensions, and without its ATTRIBUTES.

    Raises: UserError naming what is missing.
    """
    for words, variables in module.NEEDS.items():
        dims = tuple(words.split())
        for variable in variables.split():
            if variable not in result.variables:
                has = ", ".join(map(str, result.variables)) or "none"
                raise UserError(f"figure {name} needs the variable {variable}; the result has {has}")
            found = tuple(map(str, result[variable].dims))
            if found != dims:
                raise UserError(
                    f"figure {name} needs {variable} with dimensions ({', '.join(dims)}), got ({', '.join(found)})"
                )
            if result[variable].size == 0:
                raise UserError(f"figure {name} needs values of {variable}; the result has none")
    for attribute in getattr(module, "ATTRIBUTES", "").split():
        if attribute not in result.attrs:
            raise UserError(f"figure {name} needs the attribute {attribute}, which the result lacks")
