"""The commands that the documents print are commands that work."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cellstate.benchmarking.plan import plan
from cellstate.benchmarking.request import read
from cellstate.cli import COMMANDS
from cellstate.config.check import check
from cellstate.config.compose import compose

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
    """Every line of the documents' shell blocks, and every table cell, that calls cellstate."""
    for document in DOCUMENTS:
        text = re.sub(r"\\\n\s*", "", document.read_text())  # lines that go on
        lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        lines += re.findall(r"`(cellstate [^`]+)`", text)
        for line in lines:
            words = shlex.split(line, comments=True)
            if words[:1] == ["cellstate"] and "COMMAND" not in words:
                yield pytest.param(words[1:], id=f"{document.name}: {' '.join(words)}")


@pytest.fixture
def own_configs(tmp_path):
    """The user's own configs as the documents print them, in the folder that their first lines name."""
    blocks = [
        block
        for document in DOCUMENTS
        for block in re.findall(r"```yaml\n# (my_configs/\S+)\n(.*?)```", document.read_text(), re.DOTALL)
    ]
    assert {"long_pattern", "deep"} <= {Path(place).stem for place, _ in blocks}
    for place, text in blocks:
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    # And the experiment that a search leaves in its folder.
    (tmp_path / "my_configs/experiment/best.yaml").write_text("# @package _global_\ndefaults: [pattern]\n")
    return tmp_path / "my_configs"


def first(word):
    """The first value of an override that may have several."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    if override.is_interval_sweep():
        return f"{override.get_key_element()}={override.value().start}"
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


@pytest.mark.parametrize("words", list(commands()))
def test_a_printed_command_is_understood(words, own_configs):
    assert words[0] in COMMANDS
    if words[0] != "train":
        return
    config_dir = own_configs if "--config-dir" in words else None
    values = [word for word in words[1:] if "=" in word]
    values = [word for word in values if not re.match("hydra[/.]launcher", word)]  # which may not be installed
    single = [first(word) if "-m" in words else word for word in values]
    config, _ = compose("train", single, config_dir=config_dir)
    check(config)


def test_the_own_experiment_of_the_readme_says_what_it_does(own_configs):
    config, _ = compose("train", ["experiment=long_pattern"], config_dir=own_configs)
    assert config.data.length == 200
    assert list(config.data.pattern) == [1, 1, 0, 1]
    assert config.backbone.hidden_size == 128


@pytest.mark.parametrize("name", ["benchmarks.yaml", "benchmarks.md"])
def test_the_benchmarks_of_the_documents_can_be_run(name, tmp_path):
    text = (ROOT / "docs" / name).read_text()
    if name.endswith(".md"):
        (text,) = re.findall(r"```yaml\n(seeds: .*?)```", text, re.DOTALL)
    file = tmp_path / "benchmarks.yaml"
    file.write_text(text)
    request = read(file)
    jobs = plan(request, file, folder=tmp_path / "out")
    assert {job.dataset for job in jobs} == set(request.datasets)
    assert all(job.absent == list(job.files) != [] for job in jobs)
    assert all(dataset.files for name, dataset in request.datasets.items() if name != "load of our plant")
