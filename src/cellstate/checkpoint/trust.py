"""Resolve a class name in an untrusted config: from a list in the code, or from a trusted package.

A file cannot cause imports other than of cellstate's modules. A name is looked up in the modules of the listed objects
and must refer to one of these objects, so that a path such as ``cellstate.data.files.reading.os.system`` is rejected.
For data, backbones and models, all classes of the right kind in ``cellstate.data``, ``cellstate.backbone`` or
``cellstate.model`` are allowed.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from cellstate.config.options import Trust
from cellstate.errors import RequestError

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class RecordError(RequestError):
    """An error in a recorded config, to follow the name of its file."""


@dataclass(frozen=True)
class Listed:
    """The classes (or functions) allowed for one section of a config.

    Attributes:
        part: name of the section, such as ``data``.
        homes: modules that export them, in addition to those that define them.
        objects: the allowed objects.
        kind: base class required of classes of trusted packages; None for functions.
        open: whether all classes of that kind in ``homes`` are allowed.
    """

    part: str
    homes: tuple[str, ...]
    objects: tuple[Any, ...]
    kind: type | None = None
    open: bool = False

    @property
    def names(self) -> str:
        """The allowed names as text."""
        few = len(self.objects) <= 6
        return (
            ", ".join(found.__name__ for found in self.objects) if few else f"the {len(self.objects)} allowed classes"
        )

    @cached_property
    def modules(self) -> frozenset[str]:
        """Modules in which names are looked up."""
        return frozenset(self.homes) | {found.__module__ for found in self.objects}


def own_classes(part: str, package: ModuleType, kind: type) -> Listed:
    """Return the allowed classes of a package of cellstate: the exported ones and all others of that kind."""
    exported = tuple(found for found in vars(package).values() if is_concrete(found, kind))
    return Listed(part, (package.__name__,), exported, kind, open=True)


def is_concrete(found: Any, kind: type | None) -> bool:
    """Return whether an object is a concrete subclass of ``kind``."""
    return (
        kind is not None
        and isinstance(found, type)
        and issubclass(found, kind)
        and found is not kind
        and not inspect.isabstract(found)
    )


def resolved(target: Any, listed: Listed, trust: Trust = ()) -> Any:
    """Return the object of a ``_target_``.

    Args:
        target: the untrusted value.
        listed: the allowed objects.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``.

    Raises:
        RecordError: it is not allowed.
    """
    name = target if isinstance(target, str) and len(target) < 200 and DOTTED.fullmatch(target) else ""
    module, _, last = name.rpartition(".")
    packages = trusted_packages(trust)
    if module in listed.modules:
        found = vars(sys.modules[module]).get(last)
        if any(found is one for one in listed.objects):
            return found
    if listed.open and within(module, listed.homes):
        with suppress(RecordError):  # reported below
            found = of_trusted_package(module, last, listed, listed.homes)
            if is_concrete(found, listed.kind):
                return found
    if module and within(module, packages):
        return of_trusted_package(module, last, listed, packages)
    shown = repr(target)[:80] if isinstance(target, (str, int, float, type(None))) else f"a {type(target).__name__}"
    raise RecordError(
        f"the config has {listed.part}={shown}, which is not one of {listed.names}; for a user-defined class, trust "
        "its package: trust=[PACKAGE]"
    )


def check_name(target: Any, listed: Listed, trust: Trust = ()) -> None:
    """Check a ``_target_`` as ``resolved`` does, but without importing trusted packages.

    Raises:
        RecordError: it is not allowed.
    """
    if not is_of(target, trusted_packages(trust)):
        resolved(target, listed)


def is_of(target: Any, packages: Sequence[str]) -> bool:
    """Return whether a ``_target_`` is in one of ``packages``."""
    return isinstance(target, str) and bool(DOTTED.fullmatch(target)) and within(target.rpartition(".")[0], packages)


def of_trusted_package(module: str, name: str, listed: Listed, packages: Sequence[str]) -> Any:
    """Import a module of a trusted package and return its class of that name.

    Raises:
        RecordError: it cannot be imported, or the object has the wrong type or is defined in another package.
    """
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # any error in the user's module
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RecordError(
            f"{listed.part}={module}.{name}: the trusted module cannot be imported ({reason}); install it, or add "
            "its folder to PYTHONPATH"
        ) from error
    fits = callable(found) if listed.kind is None else isinstance(found, type) and issubclass(found, listed.kind)
    if not fits:
        wanted = "function" if listed.kind is None else f"subclass of {listed.kind.__name__}"
        raise RecordError(f"{listed.part}={module}.{name}: not a {wanted}, although its package is trusted")
    own = str(getattr(found, "__module__", None))
    if not within(own, packages):
        raise RecordError(
            f"{listed.part}={module}.{name}: defined in {own}, which is not trusted; add it to trust=[…] to allow it"
        )
    return found


def trusted_packages(trust: Trust) -> tuple[str, ...]:
    """Return the names of trusted packages and modules.

    Raises:
        RequestError: a name is invalid.
    """
    several = isinstance(trust, Iterable) and not isinstance(trust, str)
    names: tuple[Any, ...] = tuple(trust) if several else () if trust is None else (trust,)
    wrong = [name for name in names if not isinstance(name, str) or not DOTTED.fullmatch(name)]
    if wrong:
        raise RequestError(f"trust={wrong[0]!r}: not a package name; use for example trust=[my_package]")
    return names


def within(module: str, packages: Sequence[str]) -> bool:
    """Return whether a module is in one of ``packages``: ``a.b`` is in ``a``, ``ab`` is not."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def check_plain(values: Any, part: str) -> None:
    """Reject arguments with special keys of Hydra at any depth.

    Raises:
        RecordError: with the name of the section.
    """
    if next(of_hydra(values), None) is not None:
        raise RecordError(f"the config of {part} contains more than plain values")


def of_hydra(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all mappings in plain values that have special keys of Hydra."""
    if isinstance(value, Mapping):
        if any(str(key).startswith("_") for key in value):
            yield value
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from of_hydra(part)
