"""Imports run one way: what lies below knows nothing of what lies above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests import forkserver

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


# ---------------------------------------------------------------------- models answer for themselves

MODELS = {"Classifier", "Forecaster", "LanguageModel", "NextState", "Regressor"}


def outside_models():
    return [file for file in SOURCE.rglob("*.py") if file.relative_to(SOURCE).parts[0] != "model"]


def names_in(node):
    """The last parts of all names in a piece of code: ``Forecaster`` of ``model.Forecaster``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def asks_for_a_kind_of_model(node):
    """Whether code tells models apart: by isinstance, by a table of classes, by a match, or by the name of a class."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
        return bool({*MODELS, "SequenceModel"} & set(names_in(node.args[1])))
    if isinstance(node, ast.Dict):
        return any(key is not None and MODELS & set(names_in(key)) for key in node.keys)
    if isinstance(node, ast.MatchClass):
        return bool(MODELS & set(names_in(node.cls)))
    return isinstance(node, ast.Constant) and node.value in MODELS


def test_nobody_outside_models_asks_which_kind_a_model_is():
    found = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in outside_models()
        for node in ast.walk(ast.parse(file.read_text()))
        if asks_for_a_kind_of_model(node)
    ]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(model, Forecaster)",
        "isinstance(model, (model.Classifier, Regressor))",
        "issubclass(kind, SequenceModel)",
        "TABLE = {Classifier: 1}",
        "match one:\n    case NextState():\n        pass",
        "name == 'LanguageModel'",
    ],
)
def test_that_question_is_recognised(code):
    assert any(map(asks_for_a_kind_of_model, ast.walk(ast.parse(code))))


def test_importing_models_loads_no_figures():
    """Matplotlib itself comes with Lightning, by way of torchmetrics; nothing of ours that draws comes with models."""
    code = "import sys, cellstate.model; print(*(name for name in sys.modules if name.startswith('cellstate')))"
    answer = forkserver.run(["-c", code], check=True)
    loaded = set(answer.stdout.split())
    assert "cellstate.model.forecasting.model" in loaded
    assert not [name for name in loaded if name.endswith(".figures") or name == "cellstate.plotting.canvas"]


TASKS = ["classification", "forecasting", "language", "next_state", "regression"]


@pytest.mark.parametrize("task", TASKS)
def test_what_one_task_needs_lies_in_its_own_folder(task):
    others = {f"cellstate.model.{other}" for other in TASKS if other != task}
    for file in (SOURCE / "model" / task).glob("*.py"):
        assert not {".".join(module.split(".")[:3]) for module in imports(file)} & others, file
