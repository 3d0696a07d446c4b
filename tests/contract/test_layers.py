"""Imports run one way: what lies below knows nothing of what lies above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cellstate

SOURCE = Path(cellstate.__file__).parent
ROOT = Path(__file__).parents[2]

HEAVY = {"torch", "lightning", "polars", "matplotlib", "torchmetrics", "wandb"}


def imports(file):
    """The modules that a file imports when it runs, at its top and inside its functions."""
    tree = ast.parse(file.read_text())
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    for_types = [node for node in guards if ast.unparse(node.test) == "TYPE_CHECKING"]
    unseen = {inner for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_rooms_know_only_what_lies_below_them():
    """The contract stands in pyproject.toml; ``make check`` holds it too."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_five_modules_stand_alone_and_all_else_is_in_a_room():
    assert {file.name for file in SOURCE.glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "api.py",
        "cli.py",
        "errors.py",
    }


@pytest.mark.parametrize("package", ["backbone", "metrics"])
def test_backbones_and_metrics_are_pure_torch(package):
    for file in (SOURCE / package).rglob("*.py"):
        assert not {module.split(".")[0] for module in imports(file)} & {"lightning", "hydra", "omegaconf"}, file


@pytest.mark.parametrize(
    "file",
    [
        "cli.py",
        "errors.py",
        "commands/__init__.py",
        *(f"config/{file.name}" for file in sorted((SOURCE / "config").glob("*.py"))),
    ],
)
def test_the_way_to_a_command_imports_nothing_heavy(file):
    assert not [module for module in imports(SOURCE / file) if module.split(".")[0] in HEAVY]


def test_there_is_no_drawer_for_everything():
    assert not [file for file in SOURCE.rglob("*.py") if file.stem in {"utils", "helpers", "common", "misc"}]
