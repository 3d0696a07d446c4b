"""What the project asks of the machine that it is installed on, said once and alike."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
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
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, timeout=60)


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
