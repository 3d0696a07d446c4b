"""A model of a user's own: a package outside the repository with one class and its YAML, and all commands know it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.conftest import Command

import cellstate as package

TRUST = "trust=[ownlab]"
MODULES = {
    "ownlab/__init__.py": "",
    "ownlab/spread.py": '''
"""Mean and standard deviation of one value of a whole sequence: a head, a loss and scores that cellstate lacks."""

import math

import polars as pl
import torch
from torch import nn

from cellstate.data.files.unlabelled import read_unlabelled
from cellstate.metrics.headline import Headline
from cellstate.model import SequenceModel
from cellstate.model.inputs import batches, predicting
from cellstate.model.inspector.whole_sequence import WholeSequenceInspector
from cellstate.model.inspector import Answers
from cellstate.plotting.parts import Section, Table


class LogScores:
    def __init__(self):
        self.losses, self.within = [], []

    def compute(self):
        return {"loss": float(torch.cat(self.losses).mean()), "within_one_std": float(torch.cat(self.within).mean())}


def log_loss(output, targets):
    mean, std = output.unbind(-1)
    return (std.log() + ((targets[:, 0] - mean) / std) ** 2 / 2 + math.log(2 * math.pi) / 2)


class SpreadInspector(WholeSequenceInspector):
    prediction_kind = "normal"
    loss_in_words = "the negative log-likelihood of the value"

    def spoken(self, outputs):
        return Answers(("mean", "std"), outputs.numpy(), probabilities=False)

    def own_targets(self, outputs):
        return outputs[:, :1] + 1


class Spread(SequenceModel):
    needs = "targets"
    headline = Headline("within_one_std", "share within one standard deviation", loss_unit="nats a sequence")
    inspector_class = SpreadInspector

    def __init__(self, spec, backbone, *, least: float = 1e-3, optimizer=None, scheduler=None):
        super().__init__(spec, optimizer, scheduler)
        self.backbone, self.least = backbone(input_size=spec.input_size), least
        self.head = nn.Linear(self.backbone.output_size, 2)

    def forward(self, inputs, lengths=None):
        last = self.backbone(inputs, lengths=lengths)[0][:, -1]
        mean, scale = self.head(last).unbind(-1)
        return torch.stack((mean, nn.functional.softplus(scale) + self.least), dim=-1)

    def loss(self, output, batch):
        return log_loss(output, batch.targets).mean()

    def new_scores(self):
        return LogScores()

    def update_scores(self, scores, output, batch):
        scores.losses.append(log_loss(output, batch.targets))
        scores.within.append(((batch.targets[:, 0] - output[:, 0]).abs() < output[:, 1]).float())

    @predicting
    def predict_file(self, data, path):
        key, sequences = read_unlabelled(self.spec, data, path)
        found = torch.cat([self(torch.as_tensor(rows).float()) for rows, _ in batches(sequences)])
        return pl.DataFrame({key.name: key, "mean": found[:, 0].numpy(), "std": found[:, 1].numpy()})

    def section(self, material):
        share = material.scores.compute()["within_one_std"]
        rows = [("within", f"{share:.4f}")]
        return Section("How wide it is", tables=[Table("Spread", "own words", ("", "share"), rows)])

    def tables(self, material):
        return {"spread": [{"within": material.scores.compute()["within_one_std"]}]}
''',
    "ownlab/bare.py": '''
from torch import nn

from cellstate.metrics.regression import RegressionScores
from cellstate.model import SequenceModel


class Bare(SequenceModel):
    """No more than a model must have."""

    needs = "targets"

    def __init__(self, spec, backbone, *, optimizer=None, scheduler=None):
        super().__init__(spec, optimizer, scheduler)
        self.backbone = backbone(input_size=spec.input_size)
        self.head = nn.Linear(self.backbone.output_size, len(spec.targets))

    def forward(self, inputs, lengths=None):
        return self.head(self.backbone(inputs, lengths=lengths)[0][:, -1])

    def loss(self, output, batch):
        return nn.functional.mse_loss(output, batch.targets)

    def new_scores(self):
        return RegressionScores(self.spec, "mse")

    def update_scores(self, scores, output, batch):
        scores.update(output, batch.targets)
''',
    "conf/model/spread.yaml": "# Mean and standard deviation.\n_target_: ownlab.spread.Spread\nleast: 0.001\n",
    "conf/model/bare.yaml": "# Nothing but what a model must have.\n_target_: ownlab.bare.Bare\n",
}
STEPS = 10
SMALL = (
    *("experiment=adding", "backbone=gru", "backbone.hidden_size=6", f"data.length={STEPS}", "data.fresh=false"),
    *("data.train_size=64", "data.val_size=48", "data.test_size=32", "trainer.max_epochs=1", "scheduler=none"),
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's package on the path, and its YAML in a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownlab"]:
        del sys.modules[name]


def train(lab: Path, model: str) -> package.Run:
    """Train a small model of that YAML."""
    words = [*SMALL, f"model={model}", f"hydra.run.dir={lab / model}", f"ledger={lab / 'ledger.csv'}"]
    return package.train(words, config_dir=lab / "conf")


@pytest.fixture(scope="module")
def spread(lab: Path) -> package.Run:
    return train(lab, "spread")


@pytest.fixture(scope="module")
def bare(lab: Path) -> package.Run:
    return train(lab, "bare")


def text_of(page: Path) -> str:
    """Return what a page says, without its markup and pictures."""
    return " ".join(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.S).split())


def sequences(path: str, count: int = 3) -> np.ndarray:
    """Write a table with a row a step, and return the sequences ``(count, STEPS, 2)``."""
    values = np.random.default_rng(0).random((count, STEPS, 2)).round(6)
    rows = [(f"s{at}", step, *map(float, values[at, step])) for at in range(count) for step in range(STEPS)]
    pl.DataFrame(rows, schema=["id", "time", "value", "marker"], orient="row").write_csv(path)
    return values


def test_its_page_leads_with_its_own_metric_and_shows_its_own_section(spread: package.Run) -> None:
    score = spread.metrics["test"]["within_one_std"]
    page = text_of(spread.folder / "report.html")
    assert "share within one standard deviation, test split" in page
    assert "How wide it is" in page
    assert f"within {score:.4f}" in page
    assert json.loads((spread.folder / "metrics.json").read_text())["headline"]["metric"] == "within_one_std"


def test_it_is_evaluated_with_one_word_of_trust(spread: package.Run, cellstate: Command) -> None:
    answer = cellstate("evaluate", f"checkpoint={spread.folder}", TRUST)
    assert answer.status == 0, answer.stderr
    assert "reproduced: 4 of 4 metrics identical" in answer.stdout
    (line,) = Path("outputs/ledger.csv").read_text().splitlines()[1:]
    assert "within_one_std" in line


def test_it_predicts_the_sequences_of_a_file(spread: package.Run, cellstate: Command) -> None:
    values = sequences("new.csv")
    answer = cellstate("predict", f"checkpoint={spread.folder}", "input=new.csv", "output=out.csv", TRUST)
    assert answer.status == 0, answer.stderr
    found = pl.read_csv("out.csv")
    with torch.no_grad():
        expected = spread.model(torch.as_tensor(values).float()).numpy()
    assert found["id"].to_list() == ["s0", "s1", "s2"]
    np.testing.assert_allclose(found.select("mean", "std").to_numpy(), expected, rtol=1e-5)


def test_it_is_inspected_by_what_it_says_of_itself(spread: package.Run) -> None:
    found = package.inspect(spread.folder, sequences=16, trust=["ownlab"])
    assert (found.task, found.patch) == ("Spread", 1)
    assert found.loss == "the negative log-likelihood of the value"
    assert found.divergence.startswith("KL divergence between the predicted normal distributions")
    assert found.influence is not None
    assert found.answers is not None
    with torch.no_grad():  # the answer after the last step is the prediction
        (whole,) = spread.model(torch.as_tensor(found.reading.values[None]).float()).numpy()
    np.testing.assert_allclose(found.answers.values[-1], whole, rtol=1e-4)
    assert found.left_out == {}


def test_it_is_inspected_on_a_file(spread: package.Run, cellstate: Command) -> None:
    sequences("new.csv")
    answer = cellstate("inspect", f"checkpoint={spread.folder}", "input=new.csv", "output=seen", TRUST)
    assert answer.status == 0, answer.stderr
    assert "id s0" in text_of(Path("seen/report.html"))


def test_a_comparison_ranks_it_by_its_own_metric(spread: package.Run, lab: Path) -> None:
    from cellstate.report.headlines import headline_of

    found = headline_of([spread.folder])
    assert found is not None
    assert (found.metric, found.label) == ("within_one_std", "share within one standard deviation")
    assert headline_of([spread.folder, lab]) is None


def test_without_anything_of_its_own_it_is_trained_scored_and_shown(bare: package.Run, cellstate: Command) -> None:
    page = text_of(bare.folder / "report.html")
    assert "loss, test split" in page
    assert math.isfinite(bare.metrics["test"]["mse"])
    answer = cellstate("evaluate", f"checkpoint={bare.folder}", TRUST)
    assert answer.status == 0, answer.stderr


def test_what_it_lacks_is_said_in_one_line(bare: package.Run, cellstate: Command) -> None:
    sequences("new.csv")
    asked = {
        "predict": (
            ["input=new.csv", "output=out.csv"],
            "a Bare, which cannot predict from files",
        ),
        "generate": ([], "a Bare, which does not generate text; give the checkpoint of a language model"),
        "inspect": (["input=new.csv"], "a Bare, which cannot inspect a file; omit input"),
    }
    for command, (words, complaint) in asked.items():
        answer = cellstate(command, f"checkpoint={bare.folder}", *words, TRUST)
        (line,) = answer.errors
        assert answer.status == 2
        assert f"checkpoint={bare.folder}: contains {complaint}" in line
        assert not Path("out.csv").exists()


def test_its_network_is_inspected_all_the_same(bare: package.Run) -> None:
    found = package.inspect(bare.folder, sequences=16, output="seen", trust=["ownlab"])
    assert found.loss == "the model's own loss"
    assert found.answers is None
    assert found.influence is None
    assert "has no prediction_kind" in found.left_out["influence of inputs on the prediction"]
    assert found.recall is not None
    assert "has no prediction_kind" in text_of(Path("seen/report.html"))
