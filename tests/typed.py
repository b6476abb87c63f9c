"""Shapes in signatures are checked while tests run: importing this first makes beartype look at every call of these
modules. Functions that refuse wrong types themselves, which tests exercise, and compiled code are left out."""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

MODULES = {
    "dynamics": "crossings direct fresh_sample gram patch_cnn signal_attack",
    "measures": "components",
    "models": "convolutional residual",
    "networks": "gadgets",
}
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
install_import_hook(
    [f"cgro.{room}.{module}" for room, names in MODULES.items() for module in names.split()], "typed.checked"
)
