"""``cellstate list``: list the available experiments, data, models and backbones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from cellstate.config.paths import config_folder
from cellstate.errors import RequestError, did_you_mean

FIRST = ("experiment", "data", "model", "backbone")  # the most common ones; the others follow


class Parser(argparse.ArgumentParser):
    """Raises RequestError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as RequestError."""
        raise RequestError(f"{message}; see: {self.prog} --help")


def run(words: list[str]) -> int:
    """Run the command."""
    parser = Parser("cellstate list", description="List the available configs, one per line.")
    parser.add_argument("group", nargs="*", help="config groups, such as experiment or backbone; default: all")
    parser.add_argument("--config-dir", "-cd", help="a folder with custom configs")
    try:
        options = parser.parse_args(words)
    except SystemExit as shown:  # by --help
        return int(shown.code or 0)
    folders = [config_folder()] + ([Path(options.config_dir).expanduser()] if options.config_dir else [])
    if options.config_dir and not folders[1].is_dir():
        raise RequestError(f"--config-dir {options.config_dir}: no such folder")
    groups = {group: entries(group, folders) for group in group_names(folders)}
    for group in options.group:
        if group not in groups:
            raise RequestError(f"{group}: unknown config group{did_you_mean(group, groups)}")
    for group in options.group or groups:
        print(f"{group}=")
        width = max(map(len, groups[group]), default=0)
        for name, description in sorted(groups[group].items()):
            print(f"  {name:{width}}  {description}".rstrip())
        print()
    return 0


def group_names(folders: list[Path]) -> list[str]:
    """Return all config groups, the most common ones first."""
    found = {
        entry.name for folder in folders for entry in folder.iterdir() if entry.is_dir() and any(entry.glob("*.yaml"))
    }
    return [name for name in FIRST if name in found] + sorted(found - set(FIRST))


def entries(group: str, folders: list[Path]) -> dict[str, str]:
    """Return name -> description of the configs of a group; the description is a file's first comment."""
    return {file.stem: description(file) for folder in folders for file in sorted((folder / group).glob("*.yaml"))}


def description(file: Path) -> str:
    """Return the first comment of a YAML file that is not for Hydra."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""
