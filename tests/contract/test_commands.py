"""A command is one file: its signature gives keys, checks, help and completion, and agrees with the Python API."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from cellstate import commands
from cellstate.commands import load, summaries
from cellstate.config.command import Command

SIGNED = [name for name in summaries() if isinstance(load(name).run, Command)]

# A command in a file of its own, as a developer would add it.
SHOUT = '''"""``cellstate shout``: print a word in capitals."""

from typing import Annotated, Literal

from pydantic import Field

from cellstate.config import options
from cellstate.config.command import command


@command("word=WORD [times=2]")
def run(
    word: Annotated[str, Field(description="what to print")],
    *,
    times: Annotated[int, Field(ge=1, description="how often")] = 1,
    end: Annotated[Literal["!", "."], Field(description="how it ends")] = "!",
    data: options.MovedData,
) -> None:
    """Print a word in capitals, several times."""
    print(" ".join([word.upper() + end] * times), sorted(data))
'''


@pytest.fixture
def shout(tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "shout.py").write_text(SHOUT)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "more")])
    monkeypatch.setattr("cellstate.cli.COMMANDS", summaries())
    yield
    sys.modules.pop("cellstate.commands.shout", None)


@pytest.mark.usefixtures("shout")
def test_a_command_is_added_by_one_file(cellstate, monkeypatch):
    assert "\n  shout      print a word in capitals\n" in cellstate("--help").stdout
    assert cellstate("shout", "word=a", "times=3").stdout == "A! A! A! []\n"
    assert cellstate("shout", "word=a", "data.path=x").stdout == "A! ['path']\n"
    help_text = cellstate("shout", "--help").stdout
    assert help_text.startswith(
        "Print a word in capitals, several times.\n\nusage: cellstate shout word=WORD [times=2]\n"
    )
    assert "\n  times=1              how often\n" in help_text
    assert cellstate("shout", "--cfg", "job").stdout.split("\n")[:3] == ["word: null", "times: 1", "end: '!'"]
    monkeypatch.setenv("COMP_LINE", "cellstate sho")
    assert cellstate("-sc", "query=bash").stdout == "shout\n"
    monkeypatch.setenv("COMP_LINE", "cellstate shout ti")
    assert cellstate("-sc", "query=bash").stdout.split() == ["times="]


@pytest.mark.usefixtures("shout")
def test_a_signature_refuses_all_that_it_does_not_take_at_once(cellstate):
    answer = cellstate("shout", "times=0", "end=?", "+data.pth=x", "+loud=true")
    assert answer.status == 2
    assert answer.errors == [
        "cellstate: error: data.pth: unknown key; did you mean 'data.path'?",
        "cellstate: error: loud: unknown key; available: data.path, data.test_path, end, times, word",
        "cellstate: error: word: required: what to print; cellstate shout word=WORD",
        "cellstate: error: times=0: should be greater than or equal to 1",
        "cellstate: error: end=?: should be '!' or '.'",
    ]
    assert cellstate("shout", "tmes=2").errors == ["cellstate: error: tmes: unknown key; did you mean 'times'?"]


@pytest.mark.usefixtures("shout")
def test_a_command_of_a_signature_runs_for_several_values(cellstate):
    answer = cellstate("shout", "-m", "word=a,b", "hydra.sweep.dir=many")
    assert answer.status == 0, answer.stderr
    assert [line for line in answer.stdout.splitlines() if line.endswith("[]")] == ["A! []", "B! []"]


@pytest.mark.parametrize("name", summaries())
def test_every_command_says_what_it_does_and_how_it_is_used(name, cellstate):
    assert summaries()[name]
    answer = cellstate(name, "--help")
    assert answer.status == 0
    assert f"usage: cellstate {name}" in answer.stdout


@pytest.mark.parametrize("name", SIGNED)
def test_every_key_of_a_command_has_a_meaning(name):
    for option in load(name).run.options:
        assert option.line[1], option.key


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("benchmark", "cellstate.benchmarking.running:benchmark"),
        ("evaluate", "cellstate.scoring.evaluate:evaluate"),
        ("inspect", "cellstate.inspection:inspect"),
        ("report", "cellstate.report.rebuild:write_report"),
    ],
)
def test_a_command_and_its_function_take_the_same_options(name, function):
    """Each states type, range and meaning once, in config/options.py; names and defaults are held equal here."""
    module, _, attribute = function.partition(":")
    ours, theirs = load(name).run.function, getattr(__import__(module, fromlist=[attribute]), attribute)
    own = {"walk", "output", "report", "data"}  # of printing and writing; data: its keys on the command line
    taken, given = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
    assert given.keys() - own == taken.keys() - own
    hints, other = (typing.get_type_hints(one, include_extras=True) for one in (ours, theirs))
    for key in given.keys() - own:
        assert given[key].default == taken[key].default, key
        assert hints[key] == other[key], key
    for key in taken:
        assert f"\n        {key}: " in theirs.__doc__


def test_the_signatures_of_all_commands_load_without_torch(tmp_path):
    script = f"""
import sys
from cellstate.commands import load
for name in {list(summaries())}:
    load(name)
print([name for name in ("torch", "lightning", "polars", "matplotlib", "wandb") if name in sys.modules])
"""
    child = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert child.stdout == "[]\n"


def test_hydra_parser_has_the_options_that_the_command_line_relies_on():
    """``config/application.py`` asks Hydra's own parser, a private function, which words are overrides.

    If this fails after an upgrade of Hydra: look for the parser's new place in ``hydra/_internal``; if there is none,
    build one with the flags of https://hydra.cc/docs/advanced/hydra-command-line-flags/ in its place.
    """
    from hydra._internal.utils import get_args_parser

    words = ["--config-dir", "mine", "seed=1", "--multirun", "--cfg", "job"]
    options = get_args_parser().parse_intermixed_args(words)
    assert options.overrides == ["seed=1"]
    assert (options.config_dir, options.multirun, options.cfg) == ("mine", True, "job")
    assert {"info", "help", "hydra_help", "config_name", "resolve", "experimental_rerun", "run", "package"} <= set(
        vars(options)
    )


def test_commands_are_files_of_their_own():
    assert {file.stem for file in Path(commands.__file__).parent.glob("[!_]*.py")} == set(summaries())
