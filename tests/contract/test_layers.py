"""Imports run one way: what lies below knows nothing of what lies above it."""

import ast
from pathlib import Path

import pytest

import cellstate

SOURCE = Path(cellstate.__file__).parent

# package -> what it must not import; the arrows of docs/design.md, read backwards
FORBIDDEN = {
    "backbone": {"lightning", "hydra", "omegaconf", "cellstate.data", "cellstate.model", "cellstate.metrics"},
    "metrics": {"lightning", "hydra", "cellstate.model", "cellstate.backbone", "cellstate.data"},
    "data": {"hydra", "cellstate.model", "cellstate.backbone", "cellstate.callbacks", "cellstate.training.run"},
    "model": {"hydra", "cellstate.callbacks", "cellstate.checkpoint", "cellstate.training.run"},
    "scheduler": {"hydra", "cellstate.model", "cellstate.data"},
    "checkpoint": {"hydra", "cellstate.callbacks", "cellstate.training.run"},
    "callbacks": {"hydra", "cellstate.training.run", "cellstate.api"},
    "debug": {
        "cellstate.training.run",
        "cellstate.training.build",
        "cellstate.scoring.evaluate",
        "cellstate.checkpoint",
    },
    "logger": {"cellstate.model", "cellstate.data", "cellstate.training.run"},
    "runs": {"cellstate.model", "cellstate.data", "cellstate.training.run"},
    "analysis": {"hydra", "cellstate.callbacks", "cellstate.training.run"},
}
NOTHING_BELOW_IMPORTS = (
    *("cellstate.report", "cellstate.commands", "cellstate.api", "cellstate.sweep"),
    *("cellstate.inspection.analysis", "cellstate.inspection"),
)
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


def within(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_not_import_what_stands_above_it(package):
    banned = FORBIDDEN[package] | set(NOTHING_BELOW_IMPORTS) - {f"cellstate.{package}"}
    for file in (SOURCE / package).rglob("*.py"):
        found = [module for module in imports(file) if within(module, banned)]
        assert not found, f"{file.relative_to(SOURCE)} imports {found}"


@pytest.mark.parametrize("file", ["cli.py", "errors.py", "annotations.py", "composition.py", "request.py"])
def test_the_way_to_a_command_imports_nothing_heavy(file):
    assert not [module for module in imports(SOURCE / file) if module.split(".")[0] in HEAVY]


def test_there_is_no_drawer_for_everything():
    assert not [file for file in SOURCE.rglob("*.py") if file.stem in {"utils", "helpers", "common", "misc"}]
