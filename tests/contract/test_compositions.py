"""What the tests remember of Hydra's compositions is what Hydra composes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cellstate.config.compose import compose
from cellstate.errors import RequestError

REQUESTS = [
    ["experiment=pattern", "seed=3", "trainer.accumulate_grad_batches=2"],
    ["experiment=pattern", "seed=4"],
    ["experiment=sine", "backbone=gru", "scheduler=warmup_cosine", "~callbacks.early_stopping"],
    ["experiment=sine", "logger=[csv,tensorboard]"],
]


COMPOSED = """
import json, sys
from omegaconf import OmegaConf
from cellstate.config.compose import compose
print(json.dumps([OmegaConf.to_yaml(compose("train", one)[0]) for one in json.loads(sys.argv[1])]))
"""


def written(overrides: list[str], config_dir: Path | None = None) -> str:
    return OmegaConf.to_yaml(compose("train", overrides, config_dir=config_dir)[0])


def test_a_remembered_composition_is_that_of_a_new_process():
    process = subprocess.run(
        [sys.executable, "-c", COMPOSED, json.dumps(REQUESTS)], check=True, capture_output=True, text=True
    )
    for _ in range(2):
        assert [written(request) for request in REQUESTS] == json.loads(process.stdout)


def test_a_config_that_is_changed_by_one_caller_is_whole_for_the_next():
    config, _ = compose("train", ["experiment=pattern"])
    before = OmegaConf.to_yaml(config)
    OmegaConf.set_struct(config, False)
    config.data.clear()
    assert OmegaConf.to_yaml(compose("train", ["experiment=pattern"])[0]) == before


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    file = tmp_path / "experiment" / "own.yaml"
    file.parent.mkdir()
    for rate in (0.25, 0.5):
        file.write_text(f"# @package _global_\ndefaults: [pattern]\noptimizer: {{lr: {rate}}}\n")
        assert f"lr: {rate}" in written(["experiment=own"], tmp_path)


def test_a_choice_that_is_none_is_refused_each_time():
    for _ in range(2):
        with pytest.raises(RequestError, match="experiment=patern"):
            compose("train", ["experiment=patern"])
