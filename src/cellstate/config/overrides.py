"""Check the overrides of a command line against the config that they would change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from cellstate.config.paths import home_of, hydra_for
from cellstate.errors import did_you_mean

# launcher -> the extra that installs it
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


def wrong_overrides(config_name: str, overrides: Sequence[str], *, multirun: bool = False) -> Iterator[str]:
    """Yield a line for each override that cannot be parsed, or refers to an unknown key or choice."""
    if unparsable := list(_unparsable(overrides)):
        yield from unparsable
        return
    if not overrides:
        return
    words = OverridesParser.create().parse_overrides(list(overrides))
    folders = [str(word.input_line) for word in words if word.key_or_group == "hydra.searchpath"]
    with hydra_for(config_name) as loader:
        groups = {
            word.key_or_group: options
            for word in words
            if (options := _options(loader, word.key_or_group, config_name, folders))
        }
        choices, keys = [], []
        for word in words:
            is_choice = word.key_or_group in groups and not isinstance(word.value(), Mapping)
            (choices if is_choice else keys).append(word)
        wrong = {id(word): problem for word in choices if (problem := _wrong_choice(word, groups[word.key_or_group]))}
        right = [word for word in choices if id(word) not in wrong]
        composed = Composed.of(config_name, right, folders)
    if composed is None:  # the problem is in a file
        yield from wrong.values()
        return
    added = [word.key_or_group for word in keys if word.is_add() or word.is_force_add()]
    for word in words:
        if word in choices:
            problem = wrong.get(id(word)) or _wrong_group(word, composed)
        else:
            problem = _wrong_key(word, composed, added)
        if problem := problem or _several(word, multirun=multirun):
            yield problem


@dataclass(frozen=True)
class Composed:
    """A config composed from the valid choices of groups.

    Attributes:
        values: nested mappings with unresolved interpolations and missing values.
        choices: group -> chosen config.
        groups: all available groups.
    """

    values: Mapping[str, Any]
    choices: Mapping[str, Any]
    groups: Sequence[str] = ()

    @classmethod
    def of(cls, config_name: str, words: Iterable[Override], folders: Sequence[str]) -> Composed | None:
        """Compose inside ``hydra_for``; return None if the files cannot be composed at all."""
        first = [_first_value(word) for word in words if not word.is_add() and not word.is_delete()]
        for attempt in ([*first, *folders], folders):
            try:
                config = compose(config_name, list(attempt), return_hydra_config=True)
            except (HydraException, OmegaConfBaseException, ValueError, MarkedYAMLError):
                continue  # the error that is being explained, or a group without a choice
            values: Any = OmegaConf.to_container(config, resolve=False)
            return cls(values, values["hydra"]["runtime"]["choices"], _groups_of(config_name))
        return None

    @classmethod
    def alone(cls, config_name: str) -> Composed | None:
        """Compose the primary config without overrides."""
        with hydra_for(config_name):
            return cls.of(config_name, [], [])

    def node(self, key: str) -> Any:
        """Return the value of a dotted key."""
        node: Any = self.values
        for part in re.split(r"[.\[\]]+", key.rstrip("]")):
            if isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, Mapping) and part in node:
                node = node[part]
            else:
                raise KeyError(key)
        return node

    def nearest(self, key: str) -> str:
        """Return a hint with similar keys of the same section, else with any similar key."""
        known = {*self.groups, *_paths(self.values)} - {key}
        section, _, last = key.rpartition(".")
        siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
        if section and siblings:
            hint = did_you_mean(last, siblings)
            return hint.replace("mean '", f"mean '{section}.") if "did you mean" in hint else f"{hint} in {section}"
        hint = did_you_mean(key, known)
        return hint if "did you mean" in hint else did_you_mean("", (name for name in known if "." not in name))


def _groups_of(config_name: str) -> list[str]:
    """Return the available groups of a primary config."""
    home = home_of(config_name)
    return [] if home is None else [entry.name for entry in home.iterdir() if entry.is_dir() and entry.name != "hydra"]


def _paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_") or name == "hydra":
            continue
        yield name
        if isinstance(value, Mapping):
            yield from _paths(value, f"{name}.")


def _options(loader: ConfigLoader, group: str, config_name: str, folders: Sequence[str]) -> list[str]:
    """Return the choices of a group, including users' folders; empty if it is not a group."""
    return [] if "." in group else loader.get_group_options(group, ObjectType.CONFIG, config_name, list(folders))


def _values(word: Override) -> list[Any]:
    """Return the value of an override, or all values of a sweep."""
    return list(word.sweep_string_iterator()) if word.is_discrete_sweep() else [word.value()]


def _first_value(word: Override) -> str:
    if not word.is_sweep_override():
        return str(word.input_line)
    return f"{word.get_key_element()}={_values(word)[0]}"


def _wrong_choice(word: Override, options: Sequence[str]) -> str | None:
    """Return the problem of an override's choice from a group, if any."""
    group = word.key_or_group
    for value in _values(word):
        if word.is_delete() and value is None:
            continue
        if not isinstance(value, (str, list)):
            return f"{word.input_line}: is not a {group} config; choose one of {', '.join(sorted(options))}"
        for name in value if isinstance(value, list) else [value]:
            if str(name) not in options:
                shown = f"[{name}]" if isinstance(value, list) else name
                return missing_choice(group, str(name), options, shown=str(shown))
    return None


def missing_choice(group: str, choice: str, options: Iterable[str], *, shown: str | None = None) -> str:
    """Return the message for a choice that a group does not have."""
    if group == "hydra/launcher" and choice in EXTRAS:
        return f"{group}={choice}: is not installed; pip install 'cellstate[{EXTRAS[choice]}]'"
    return f"{group}={shown or choice}: unknown {group}{did_you_mean(choice, options)}"


def _wrong_group(word: Override, composed: Composed) -> str | None:
    """Return the problem of an override of a group with a valid choice, if any."""
    group, is_chosen = word.key_or_group, word.get_key_element().lstrip("+~") in composed.choices
    if word.is_add() and is_chosen:
        return f"+{group}: is already chosen; remove the +"
    if word.is_delete() and not is_chosen:
        return f"~{group}: unknown key{composed.nearest(group)}"
    if not word.is_add() and not is_chosen:
        return f"{group}: unknown config group or key{composed.nearest(group)}"
    return None


def _wrong_key(word: Override, composed: Composed, added: Sequence[str]) -> str | None:
    """Return the problem of the key of an override, if any; ``added`` are keys added by overrides."""
    key = word.key_or_group
    if word.is_force_add() or any(key.startswith(f"{other}.") for other in added):
        return None
    try:
        value = composed.node(key)
    except KeyError:
        if word.is_add() or key in added:
            return None
        return f"{'~' if word.is_delete() else ''}{key}: unknown key{composed.nearest(key)}"
    if word.is_add() and value is not None and not isinstance(word.value(), (Mapping, list)):
        return f"+{key}: already exists; remove the +"
    return None


def _several(word: Override, *, multirun: bool) -> str | None:
    """Return the problem of several values for a key in a single run, if any."""
    if multirun or not word.is_sweep_override():
        return None
    key, _, value = str(word.input_line).partition("=")
    return f"{word.input_line}: several values; add -m to run with each of them, or write {key}=[{value}] for a list"


def _unparsable(overrides: Sequence[str]) -> Iterator[str]:
    """Yield a line for each override that is not ``KEY=VALUE`` in Hydra's grammar."""
    parser = OverridesParser.create()
    for word, parts in _rejoined(overrides):
        if parts > 1:
            yield f"{word}: was split at its spaces by the shell; quote it: '{word}'"
            continue
        try:
            if not parser.parse_override(word).key_or_group.strip():
                yield f"{word}: has no key; write KEY=VALUE"
        except HydraException:
            yield f"{word}: {_why_unparsable(word)}"


def _rejoined(overrides: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each word and 1, or a list or mapping that the shell split at its spaces, and the number of its parts."""
    parser, at = OverridesParser.create(), 0
    while at < len(overrides):
        parts = 1
        if re.match(r"[^=\s]+=[\[{]", overrides[at]):
            while _open(" ".join(overrides[at : at + parts])) and at + parts < len(overrides):
                parts += 1
            try:
                parser.parse_override(" ".join(overrides[at : at + parts]))
            except HydraException:
                parts = 1
        yield " ".join(overrides[at : at + parts]), parts
        at += parts


def _open(text: str) -> bool:
    """Return whether a bracket of a text is not closed."""
    return any(text.count(opening) > text.count(closing) for opening, closing in ("[]", "{}"))


def _why_unparsable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"has no value; write {word}=VALUE"
    if not key.strip():
        return "has no key; write KEY=VALUE"
    if not re.fullmatch(r"(~|\+{0,2})[\w./@:$-]+", key):
        return f"{key!r} is not a valid key; write KEY=VALUE"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            missing = closing if value.count(opening) > value.count(closing) else opening
            return f"a {missing!r} is missing"
    for quote in "'\"":
        if value.count(quote) % 2:
            return f"a quote ({quote}) is not closed"
    return f"the value contains special characters; quote it, '{key}=\"{value}\"'"
