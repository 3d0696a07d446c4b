"""The best parameters as an experiment: a YAML file that trains what the best trial trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override, QuotedString

from cellstate.output import write_whole
from cellstate.sweep.identity import ASIDE

FOLDER = "experiment"  # so that --config-dir finds what lies in it


def write_experiment(
    file: Path, words: Sequence[Override], *, experiment: str, said: Sequence[str], groups: set[str]
) -> None:
    """Write an experiment that is what overrides make of another one.

    Args:
        file: where to; its name is that of the experiment.
        words: the overrides.
        experiment: what they stand beside.
        said: lines that say what it is.
        groups: the keys among them that choose a config of a group.

    Raises:
        RunError: the disk is full, or cannot be written.
    """
    defaults: list[Any] = [experiment]
    values: dict[str, Any] = {}
    others = []
    for word in words:
        key = word.key_or_group.lstrip("+")
        if word.is_hydra_override() or key.partition(".")[0] in ASIDE or key == "experiment":
            continue
        if word.is_delete():
            others.append(str(word.input_line))
        elif key in groups:
            defaults.append({f"override /{key}": plain(word.value())})
        else:
            put(values, key.split("."), plain(word.value()))
    lines = ["# @package _global_", *(f"# {line}" for line in said)]
    if others:
        lines.append(f"# It was trained with {' '.join(others)} as well, which has no word in a file: give it too.")
    text = "\n".join(lines) + "\n" + dumped({"defaults": defaults}) + ("\n" + dumped(values) if values else "")
    file.parent.mkdir(exist_ok=True)
    write_whole(file, lambda draft: draft.write_text(text, encoding="utf-8"))


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value into nested dictionaries."""
    *parts, last = path
    for part in parts:
        node = tree.get(part)
        tree[part] = node if isinstance(node, dict) else {}
        tree = tree[part]
    tree[last] = value


def plain(value: Any) -> Any:
    """Return a value of an override as YAML has it."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def dumped(values: Mapping[str, Any]) -> str:
    """Return YAML, lists of plain values in one line."""
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True)


class Dumper(yaml.SafeDumper):
    """Writes mappings as blocks, and numbers such as 1e-05 so that YAML reads numbers."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:  # noqa: ARG002
        """Write a mapping as a block."""
        return super().represent_mapping(tag, mapping, flow_style=False)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent the members of a list below its key."""
        super().increase_indent(flow, False)
