"""One package outside the repository with one of each: backbone, data set, model, callback, experiment.

No file of cellstate knows of it; all commands do, with one entry of ``trust`` where a checkpoint names its classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.conftest import Command

import cellstate as package
from cellstate.errors import RequestError

TRUST = "trust=[mylab]"
FILES = {
    "mylab/__init__.py": "",
    "mylab/cells.py": '''
"""The simplest gated network: a leaky integrator with learned leaks."""

import torch
from torch import nn

from cellstate.backbone import Backbone


class LeakyIntegrator(Backbone):
    def __init__(self, input_size: int, hidden_size: int = 16) -> None:
        super().__init__()
        self.input_size, self.output_size, self.state_size = input_size, hidden_size, hidden_size
        self.bidirectional = False
        self.leak = nn.Parameter(torch.zeros(hidden_size))
        self.read = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size):
        return (self.leak.new_zeros(1, batch_size, self.output_size),)

    def forward(self, inputs, state=None, lengths=None):
        h = (state or self.initial_state(len(inputs)))[0][0]
        keep, outputs = self.leak.sigmoid(), []
        for step, features in enumerate(inputs.unbind(1)):
            new = keep * h + (1 - keep) * torch.tanh(self.read(torch.cat([features, h], -1)))
            valid = 1.0 if lengths is None else (step < lengths.to(h.device))[:, None].to(h)
            h = valid * new + (1 - valid) * h
            outputs.append(h * valid)
        return torch.stack(outputs, 1), (h[None],)
''',
    "mylab/data.py": '''
"""Are there more ones than zeros among an odd number of bits?"""

import numpy as np
import torch

from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.classification import GeneratedClassification
from cellstate.data.synthetic.randomness import CounterRandom, as_counters


class MajorityData(GeneratedClassification):
    def __init__(
        self, *, length: int = 9, train_size: int = 256, val_size: int = 64, test_size: int = 64,
        fresh: bool = False, batch_size: int = 32, seed: int = 0,
    ) -> None:
        super().__init__(
            train_size=train_size, val_size=val_size, test_size=test_size, fresh=fresh, batch_size=batch_size, seed=seed
        )
        self.length = length

    def class_names(self):
        return "zeros", "ones"

    def longest(self):
        return self.length

    def question(self):
        return f"of {self.length} bits, are most of them ones?"

    def draw(self, split, indices):
        random = CounterRandom("majority", self.seed, split, self.length)
        bits = random.integers(as_counters(indices), self.length, 2).astype(np.float32)
        labels = (2 * bits.sum(1) > self.length).astype(np.int64)
        return TensorSamples(torch.from_numpy(bits)[..., None], torch.from_numpy(labels))
''',
    "mylab/model.py": '''
"""A classifier that reads the mean output of the backbone."""

import polars as pl
import torch
from torch import nn

from cellstate.data.files.unlabelled import read_unlabelled
from cellstate.metrics.classification import ClassificationScores
from cellstate.model import SequenceModel
from cellstate.model.inputs import batches, predicting


class MeanClassifier(SequenceModel):
    needs = "classes"

    def __init__(self, spec, backbone, *, width: int = 8, optimizer=None, scheduler=None):
        super().__init__(spec, optimizer, scheduler)
        self.backbone = backbone(input_size=spec.input_size)
        self.head = nn.Sequential(
            nn.Linear(self.backbone.output_size, width), nn.ReLU(), nn.Linear(width, len(spec.classes))
        )

    def forward(self, inputs, lengths=None):
        return self.head(self.backbone(inputs, lengths=lengths)[0].mean(1))

    def loss(self, output, batch):
        return nn.functional.cross_entropy(output, batch.targets)

    def new_scores(self):
        return ClassificationScores()

    def update_scores(self, scores, output, batch):
        scores.update(output, batch.targets)

    @predicting
    def predict_file(self, data, path):
        key, sequences = read_unlabelled(self.spec, data, path)
        found = torch.cat([self(torch.as_tensor(rows).float()) for rows, _ in batches(sequences)]).argmax(-1)
        return pl.DataFrame({key.name: key, "most": [self.spec.classes[label] for label in found]})
''',
    "mylab/callbacks.py": '''
import lightning as L


class Counts(L.Callback):
    """Writes how many batches were trained."""

    def __init__(self, file: str = "batches.txt") -> None:
        self.file, self.batches = file, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches += 1

    def on_train_end(self, trainer, pl_module):
        from pathlib import Path

        Path(self.file).write_text(str(self.batches))
''',
    "conf/backbone/leaky.yaml": "# A leaky integrator.\n_target_: mylab.cells.LeakyIntegrator\nhidden_size: 8\n",
    "conf/data/majority.yaml": "# More ones than zeros?\n_target_: mylab.data.MajorityData\nlength: 9\nseed: ${seed}\n",
    "conf/model/mean_classifier.yaml": "# The mean output.\n_target_: mylab.model.MeanClassifier\nwidth: 8\n",
    "conf/experiment/majority.yaml": """# @package _global_
# Are most of nine bits ones?
defaults:
  - override /data: majority
  - override /backbone: leaky
  - override /model: mean_classifier

callbacks:
  counts:
    _target_: mylab.callbacks.Counts
trainer:
  max_epochs: 3
report: true
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package on the path, its configs in a folder, and one run of its experiment by command line's words."""
    folder = tmp_path_factory.mktemp("lab")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        package.train(["experiment=majority", "hydra.run.dir=run"], config_dir="conf")
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def test_it_trains_beside_its_optimum_and_its_callback_runs(lab: Path) -> None:
    metrics = json.loads((lab / "run" / "metrics.json").read_text())
    assert metrics["steps"] == 3 * 256 // 32
    assert (lab / "batches.txt").read_text() == str(metrics["steps"])
    assert metrics["reference"]["accuracy"]["optimum"] == 1.0
    assert 0 <= metrics["test"]["accuracy"] <= 1
    assert (lab / "run" / "report.html").is_file()


def test_without_trust_its_checkpoint_is_rejected_in_one_line(lab: Path) -> None:
    with pytest.raises(RequestError, match=r"mylab.*trust=\[PACKAGE\]"):
        package.evaluate(lab / "run")


def test_with_one_entry_of_trust_every_command_knows_it(lab: Path, cellstate: Command) -> None:
    run = f"checkpoint={lab / 'run'}"
    answer = cellstate("evaluate", run, TRUST)
    assert answer.status == 0, answer.stderr
    assert "8 of 8" in answer.stdout
    assert cellstate("inspect", run, TRUST, "sequences=4", "output=seen").status == 0
    assert Path("seen/report.html").is_file()
    assert cellstate("report", str(lab / "run"), TRUST).status == 0
    Path("new.csv").write_text("id,time,bit\n" + "".join(f"{row},{step},1\n" for row in (1, 2) for step in range(9)))
    answer = cellstate("predict", run, TRUST, "input=new.csv", "output=out.csv")
    assert answer.status == 0, answer.stderr
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()] == ["id", "1", "2"]
    logits = package.load(lab / "run", trust=["mylab"])(torch.ones(3, 9, 1))
    assert logits.shape == (3, 2)


def test_it_is_swept_and_resumed(lab: Path, cellstate: Command) -> None:
    words = ["train", "-m", "--config-dir", str(lab / "conf"), "experiment=majority", "backbone=leaky,gru"]
    words += ["backbone.hidden_size=4,8", "report=false", "sweep.name=mine"]
    answer = cellstate(*words)
    assert answer.status == 0, answer.stderr
    listed = json.loads(Path("outputs/sweeps/mine/sweep.json").read_text())
    assert [job["status"] for job in listed["jobs"]] == ["completed"] * 4
    assert "4 already complete" in cellstate(*words).stdout + cellstate(*words).stderr


def test_its_names_are_checked_like_all_others(lab: Path) -> None:
    with pytest.raises(RequestError, match=r"backbone\.hiden_size: unknown key; did you mean 'backbone\.hidden_size'"):
        package.train(["experiment=majority", "+backbone.hiden_size=4"], config_dir=lab / "conf")
