"""Which object a name stands for that an untrusted config gives: one of a list in our code, or of a trusted package.

Nothing is imported because a file names it, but modules of cellstate itself. A name is looked up in the modules that
the list's own objects come from, and counts if what it finds there is one of those objects: a longer way to something
else, such as ``cellstate.data.files.reading.os.system``, leads nowhere. Data, backbones and models need no list: any
class of the right kind counts that lies in ``cellstate.data``, ``cellstate.backbone`` or ``cellstate.model``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from cellstate.config.options import Trust
from cellstate.errors import RequestError

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class RecordError(RequestError):
    """What is wrong with a recorded config, in words that go on after the name of its file."""


@dataclass(frozen=True)
class Listed:
    """The classes (or functions) that a config may name for one of its parts.

    Attributes:
        part: what the part is called, such as ``data``.
        homes: modules that offer them, beside those that define them.
        objects: the list.
        kind: what a class of a trusted package must derive from; of functions, None.
        open: whether other classes of that kind count too that lie in ``homes``.
    """

    part: str
    homes: tuple[str, ...]
    objects: tuple[Any, ...]
    kind: type | None = None
    open: bool = False

    @property
    def names(self) -> str:
        """What may be named, in words."""
        few = len(self.objects) <= 6
        return (
            ", ".join(found.__name__ for found in self.objects) if few else f"the {len(self.objects)} that are listed"
        )

    @cached_property
    def modules(self) -> frozenset[str]:
        """Names of the modules in which a name is looked up."""
        return frozenset(self.homes) | {found.__module__ for found in self.objects}


def own_classes(part: str, package: ModuleType, kind: type) -> Listed:
    """Return the classes of a package of cellstate's: those that it exports by name, and all others of that kind."""
    exported = tuple(found for found in vars(package).values() if is_concrete(found, kind))
    return Listed(part, (package.__name__,), exported, kind, open=True)


def is_concrete(found: Any, kind: type | None) -> bool:
    """Say whether an object is a class that derives from ``kind``, and can have instances."""
    return (
        kind is not None
        and isinstance(found, type)
        and issubclass(found, kind)
        and found is not kind
        and not inspect.isabstract(found)
    )


def resolved(target: Any, listed: Listed, trust: Trust = ()) -> Any:
    """Return the object that a config's ``_target_`` names.

    Args:
        target: what stands there; it may be anything.
        listed: what may be named.
        trust: packages whose classes may be named besides, such as ``["my_package"]``; see ``trusted_packages``.

    Raises:
        RecordError: it names something else, or nothing.
    """
    name = target if isinstance(target, str) and len(target) < 200 and DOTTED.fullmatch(target) else ""
    module, _, last = name.rpartition(".")
    packages = trusted_packages(trust)
    if module in listed.modules:
        found = vars(sys.modules[module]).get(last)
        if any(found is one for one in listed.objects):
            return found
    if listed.open and within(module, listed.homes):
        with suppress(RecordError):  # it is told below
            found = of_trusted_package(module, last, listed, listed.homes)
            if is_concrete(found, listed.kind):
                return found
    if module and within(module, packages):
        return of_trusted_package(module, last, listed, packages)
    shown = repr(target)[:80] if isinstance(target, (str, int, float, type(None))) else f"a {type(target).__name__}"
    raise RecordError(
        f"the config asks for {listed.part}={shown}, which is none of {listed.names}; one of your own counts if you "
        "name its package: trust=[PACKAGE]"
    )


def check_name(target: Any, listed: Listed, trust: Trust = ()) -> None:
    """Refuse a ``_target_`` that ``resolved`` would refuse; of a trusted package, nothing is imported to tell.

    Raises:
        RecordError: it names something else, or nothing.
    """
    if not is_of(target, trusted_packages(trust)):
        resolved(target, listed)


def is_of(target: Any, packages: Sequence[str]) -> bool:
    """Say whether a ``_target_`` is a name in one of ``packages``."""
    return isinstance(target, str) and bool(DOTTED.fullmatch(target)) and within(target.rpartition(".")[0], packages)


def of_trusted_package(module: str, name: str, listed: Listed, packages: Sequence[str]) -> Any:
    """Return the class of that name, from a module in a trusted package, which is imported now.

    Raises:
        RecordError: it cannot be imported, or what it has of that name is no class for this part, or is not its own.
    """
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever the user's own module raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RecordError(
            f"{listed.part}={module}.{name}: the trusted module cannot be imported here ({reason}); install it, or put "
            "its folder on PYTHONPATH"
        ) from error
    fits = callable(found) if listed.kind is None else isinstance(found, type) and issubclass(found, listed.kind)
    if not fits:
        wanted = "function" if listed.kind is None else f"subclass of {listed.kind.__name__}"
        raise RecordError(
            f"{listed.part}={module}.{name}: is no {wanted}; it is refused, though its package is trusted"
        )
    own = str(getattr(found, "__module__", None))
    if not within(own, packages):
        raise RecordError(
            f"{listed.part}={module}.{name}: comes from {own}, which is not trusted; add it to trust=[…] if it is to be"
        )
    return found


def trusted_packages(trust: Trust) -> tuple[str, ...]:
    """Return the names of trusted packages and modules.

    Raises:
        RequestError: they are no names.
    """
    several = isinstance(trust, Iterable) and not isinstance(trust, str)
    names: tuple[Any, ...] = tuple(trust) if several else () if trust is None else (trust,)
    wrong = [name for name in names if not isinstance(name, str) or not DOTTED.fullmatch(name)]
    if wrong:
        raise RequestError(f"trust={wrong[0]!r}: is no name of a package; give some such as trust=[my_package]")
    return names


def within(module: str, packages: Sequence[str]) -> bool:
    """Say whether a module is one of ``packages`` or lies in one: ``a.b`` in ``a``, but not ``ab``."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def check_plain(values: Any, part: str) -> None:
    """Refuse arguments with keys that mean something to Hydra, at any depth.

    Raises:
        RecordError: names the part.
    """
    if _has_key_of_hydra(values):
        raise RecordError(f"the config of {part} holds more than plain values; it is refused")


def _has_key_of_hydra(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(str(key).startswith("_") or _has_key_of_hydra(part) for key, part in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_key_of_hydra, value))
