"""Warnings go through Python's own machinery; the command line shows each as one line."""

import subprocess
import sys
import warnings

import pytest

from cellstate import cli
from cellstate.errors import CellstateWarning, warn, warnings_as_lines


def test_a_warning_is_one_line_of_plain_signs():
    with pytest.warns(CellstateWarning) as caught:
        warn("the report\nwas not \x1b[2Jwritten")
    assert str(caught[0].message) == "the report was not ?[2Jwritten"
    assert caught[0].filename == __file__


def test_whoever_calls_decides_what_becomes_of_a_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore", CellstateWarning)
        warn("nobody wants to know")
    assert not caught
    with warnings.catch_warnings():
        warnings.simplefilter("error", CellstateWarning)
        with pytest.raises(CellstateWarning, match="an error now"):
            warn("an error now")


def test_the_command_line_shows_each_as_one_line_as_often_as_it_comes_up(capsys):
    before = list(warnings.filters), warnings.showwarning
    with warnings_as_lines():
        for _ in range(2):
            warn("all results are in the run folder")
    assert capsys.readouterr().err == "cellstate: warning: all results are in the run folder\n" * 2
    assert (list(warnings.filters), warnings.showwarning) == before


def test_warnings_of_other_packages_are_shown_as_ever(capsys):
    with pytest.warns(RuntimeWarning, match="overflow"), warnings_as_lines():
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    assert not capsys.readouterr().err


def test_a_command_shows_its_warnings_so(monkeypatch, capsys):
    """Whatever it is that warns: a command's own module stands for all that it calls."""

    def run(words):
        warn(f"{words[0]} is damaged; going on from previous.ckpt")

    monkeypatch.setattr(cli, "find", lambda _: run)
    assert cli.dispatch(["train", "last.ckpt"]) == 0
    assert capsys.readouterr().err == "cellstate: warning: last.ckpt is damaged; going on from previous.ckpt\n"


def test_a_script_sees_a_warning_where_python_shows_warnings(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from cellstate.errors import warn\nwarn('logging offline')\n")
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert "script.py:2: CellstateWarning: logging offline" in shown.stderr
