"""Floor 1: packages that only some users need, imported when they are first used."""

import importlib
from types import ModuleType

from tinydistil.errors import InputError


def optional(package: str, *, needed_by: str, extra: str) -> ModuleType:
    """Import optional `package`. Raises InputError saying what needs it and how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(
            f'{needed_by} needs the package {package!r}; pip install "tinydistil[{extra}]"'
        ) from None
