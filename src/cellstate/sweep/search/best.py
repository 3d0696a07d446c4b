"""Write the best parameters as an experiment: a YAML file that reproduces the best trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cellstate.config.paths import config_folder
from cellstate.runs.writing import write_whole
from cellstate.sweep.identity import ASIDE
from cellstate.sweep.search.space import word_of

FOLDER = "experiment"  # the group's folder for --config-dir
ABSENT = object()

Load = Callable[[Sequence[str]], tuple[DictConfig, dict[str, Any]]]


def write_experiment(
    file: Path, load: Load, words: Sequence[str], params: Mapping[str, Any], comments: Sequence[str]
) -> None:
    """Write the experiment that results from overrides, as its differences from the base experiment.

    Args:
        file: to write, named after the experiment.
        load: returns the composed config of overrides, and the choice of each group.
        words: the overrides.
        params: key -> value of those that are always written, even if equal to the base.
        comments: lines that describe it.
    """
    wanted, chosen = load(words)
    base = chosen.get("experiment")
    if base is None or not (config_folder() / FOLDER / f"{base}.yaml").is_file():
        base = None  # from a user's config folder, which may be missing where this file is used
    common = [f"experiment={base}" if base else "~experiment", "sweep=grid"]
    _, usual = load(common)
    groups = {
        group: choice
        for group, choice in chosen.items()
        if choice != usual.get(group) and group not in ("experiment", *ASIDE) and not group.startswith("hydra/")
    }
    config, _ = load([*common, *(word_of(*group) for group in groups.items())])
    values, lacking = difference(contents(config), contents(wanted)), list(missing(contents(config), contents(wanted)))
    for key, value in params.items():
        if key not in chosen:
            put(values, key.lstrip("+").split("."), value)
    lines = ["# @package _global_", *(f"# {line}" for line in comments)]
    if lacking:
        lines.append(
            f"# It was trained with ~{' ~'.join(lacking)}, which a file cannot express; add it to the command."
        )
    defaults = [*([base] if base else []), *({f"override /{group}": choice} for group, choice in groups.items())]
    text = "\n".join(lines) + "\n" + dumped({"defaults": defaults}) + ("\n" + dumped(values) if values else "")
    file.parent.mkdir(exist_ok=True)
    write_whole(file, lambda draft: draft.write_text(text, encoding="utf-8"))


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value into nested dictionaries."""
    *parts, last = path
    for part in parts:
        tree = tree.setdefault(part, {})
    tree[last] = value


def contents(config: DictConfig) -> dict[str, Any]:
    """Return the part of a config that affects training, unresolved."""
    values: Any = OmegaConf.to_container(config, resolve=False)
    return {key: value for key, value in values.items() if key not in (*ASIDE, "experiment")}


def difference(base: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree of keys of ``wanted`` that ``base`` lacks or has with another value."""
    found = {}
    for key, value in wanted.items():
        before = base.get(key, ABSENT)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if part := difference(before, value):
                found[key] = part
        elif value != before or type(value) is not type(before):
            found[key] = value
    return found


def missing(base: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of ``base`` that ``wanted`` lacks."""
    for key, value in base.items():
        if key not in wanted:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping) and isinstance(wanted[key], Mapping):
            yield from missing(value, wanted[key], f"{prefix}{key}.")


def dumped(values: Mapping[str, Any]) -> str:
    """Return YAML, with lists of plain values on one line."""
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True)


class Dumper(yaml.SafeDumper):
    """Writes mappings as blocks."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:  # noqa: ARG002
        """Write a mapping as a block."""
        return super().represent_mapping(tag, mapping, flow_style=False)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent the items of a list below its key."""
        super().increase_indent(flow, False)
