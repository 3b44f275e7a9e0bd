"""Floor 1: packages that only some users need, imported when they are first used."""

import importlib
from types import ModuleType

from tinydistil.base.errors import InputError


def optional(package: str, *, needed_by: str, extra: str) -> ModuleType:
    """Import optional `package`. Raises InputError saying what needs it and how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.partition(".")[0]
        # By its own name: tinydistil itself may have been installed from a folder, under no name that pip can look up.
        raise InputError(
            f"{needed_by} needs the package {package!r}; pip install {name} (part of tinydistil[{extra}])"
        ) from None
