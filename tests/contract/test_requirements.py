"""What the project asks of the machine that it is installed on, said once and alike."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {name: asked for name, asked in PROJECT["project"]["optional-dependencies"].items() if name != "dev"}
REQUIRED = [Requirement(text) for part in (PROJECT["project"]["dependencies"], *EXTRAS.values()) for text in part]
OLDEST = PROJECT["project"]["requires-python"].removeprefix(">=")


@pytest.fixture
def checkout(tmp_path):
    """A folder with what `make install` reads, and a Python 3.10 that notes whatever it is to run as a module."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    older = "import sys; sys.version_info = (3, 10, 13, 'final', 0); exec(sys.argv[1])"
    python = tmp_path / "python3.10"
    python.write_text(
        f'#!/bin/sh\ntest "$1" = -c || {{ echo "$@" >> {tmp_path}/installed; exit 1; }}\n'
        f'exec {sys.executable} -c "{older}" "$2"\n'
    )
    python.chmod(0o755)
    return tmp_path


def make(folder, *words):
    """What a user's own `make` prints: not as a part of the `make test` that may have started this test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("goal", ["install", "train", "test", "check"])
def test_an_older_python_is_rejected_in_one_line_before_anything_is_installed(checkout, goal):
    done = make(checkout, "PYTHON=./python3.10", goal)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert f"./python3.10 is Python 3.10.13, and cellstate needs {OLDEST} or later" in line
    assert f"make PYTHON=python{OLDEST} {goal}" in line
    assert not (checkout / "installed").exists()
    assert not (checkout / ".venv").exists()


def test_an_environment_of_an_older_python_is_to_be_made_again(checkout):
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / "python3.10").rename(checkout / ".venv/bin/python")
    (line,) = make(checkout, f"PYTHON={sys.executable}", "install").stderr.splitlines()
    assert f"make clean && make PYTHON=python{OLDEST} install" in line
    assert not (checkout / "installed").exists()


def test_the_oldest_python_is_the_same_wherever_it_is_named():
    listed = [text.rpartition(" ")[2] for text in PROJECT["project"]["classifiers"] if ":: 3." in text]
    assert listed[0] == OLDEST
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == OLDEST
    assert f"Python {OLDEST}-{listed[-1]}" in (ROOT / "Makefile").read_text()
    assert re.search(rf"Python {OLDEST}\s+to\s+{listed[-1]}", (ROOT / "README.md").read_text())


@pytest.mark.parametrize("required", REQUIRED, ids=lambda required: required.name)
def test_what_is_required_is_held_below_the_next_version_that_may_break_it(required):
    """The next major version, by semantic versioning; the next minor one of what has none yet, or breaks by those."""
    (bound,) = [part.version for part in required.specifier if part.operator == "<"]
    lower = next(part.version for part in required.specifier if part.operator == ">=")
    if lower.startswith("0."):
        assert bound == f"0.{int(lower.split('.')[1]) + 1}"
    else:
        assert int(bound.split(".")[0]) >= int(lower.split(".")[0])
        assert not required.specifier.contains("999")


def test_the_exact_versions_are_among_those_that_are_allowed():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    exact = dict(line.split("==") for line in lines)
    exact = {canonicalize_name(name): version for name, version in exact.items()}
    outside_dev = {Requirement(text).name for extra in ("ray", "classical") for text in EXTRAS[extra]}
    pinned = [required for required in REQUIRED if required.name not in outside_dev]
    outside = [str(one) for one in pinned if not one.specifier.contains(exact[canonicalize_name(one.name)])]
    assert not outside


def test_every_package_that_is_imported_is_declared():
    """What another dependency happens to bring along today may be gone with its next version."""
    imported = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"cellstate"}
    assert {"torch", "PIL", "yaml"} <= foreign
    declared = {canonicalize_name(required.name) for required in REQUIRED}
    brought_by = {"aeon": ["aeon"], **packages_distributions()}  # not in the dev set
    assert not [name for name in foreign if declared.isdisjoint(map(canonicalize_name, brought_by[name]))]
