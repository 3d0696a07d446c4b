"""A backbone of a user's own, from a package outside of the repository or within it: trained, then used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import TINY, Command

import cellstate as package
from cellstate import backbone
from cellstate.errors import RequestError

# A gated unit with one gate (Zhou et al., 2016), as docs/design.md says how: a subclass of Backbone and a YAML.
CLASS = """
from __future__ import annotations
import torch
from torch import Tensor, nn
from cellstate.config.types import PositiveInt
from cellstate.backbone import Backbone, State

class MinimalGatedUnit(Backbone):
    def __init__(self, input_size: PositiveInt, hidden_size: PositiveInt = 16) -> None:
        super().__init__()
        self.input_size, self.output_size, self.state_size = input_size, hidden_size, hidden_size
        self.bidirectional = False
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int) -> State:
        return (self.gate.weight.new_zeros(1, batch_size, self.output_size),)

    def forward(self, inputs, state=None, lengths=None):
        h = (state or self.initial_state(len(inputs)))[0][0]
        outputs = []
        for step, features in enumerate(inputs.unbind(1)):
            f = torch.sigmoid(self.gate(torch.cat([features, h], -1)))
            new = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([features, f * h], -1)))
            if lengths is None:
                h = new
                outputs.append(h)
            else:
                valid = (step < lengths.to(h.device))[:, None]
                h = torch.where(valid, new, h)
                outputs.append(h * valid)
        return torch.stack(outputs, 1), (h[None],)
"""
WITHOUT_SIZE = [word for word in TINY if not word.startswith("backbone.")]


def train(target: str) -> package.Run:
    """Train an experiment with a YAML of one's own for the backbone."""
    folder = Path("my_configs/backbone")
    folder.mkdir(parents=True)
    (folder / "mgu.yaml").write_text(f"# A gated unit with one gate.\n_target_: {target}\nhidden_size: 8\n")
    words = ["experiment=pattern", "backbone=mgu", *WITHOUT_SIZE, "hydra.run.dir=run"]
    return package.train(words, config_dir="my_configs")


@pytest.fixture
def outside(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the class in a package outside of the repository."""
    (working_folder / "lib" / "mycells").mkdir(parents=True)
    (working_folder / "lib" / "mycells" / "__init__.py").write_text("")
    (working_folder / "lib" / "mycells" / "minimal.py").write_text(CLASS)
    monkeypatch.syspath_prepend(working_folder / "lib")
    yield "mycells.minimal.MinimalGatedUnit"
    for name in [name for name in sys.modules if name.partition(".")[0] == "mycells"]:
        del sys.modules[name]


@pytest.fixture
def within(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the class in a file that was added to ``cellstate.backbone``, and nothing else."""
    (working_folder / "more").mkdir()
    (working_folder / "more" / "minimal_gated.py").write_text(CLASS)
    monkeypatch.setattr(backbone, "__path__", [*backbone.__path__, str(working_folder / "more")])
    yield "cellstate.backbone.minimal_gated.MinimalGatedUnit"
    sys.modules.pop("cellstate.backbone.minimal_gated", None)


ROWS = "id,time,bit\n" + "".join(f"{number},{step},{step % 2}\n" for number in (1, 2) for step in range(20))


def used(cellstate: Command, *words: str) -> None:
    """Evaluate, predict and inspect by command line."""
    Path("new.csv").write_text(ROWS)
    for command in (
        ["evaluate"],
        ["predict", "input=new.csv", "output=out.csv"],
        ["inspect", "output=seen", "sequences=4"],
    ):
        answer = cellstate(*command, "checkpoint=run", *words)
        assert answer.status == 0, answer.stderr
    assert len(Path("out.csv").read_text().splitlines()) == 3
    assert (Path("seen") / "report.html").exists()


def test_one_entry_of_trust_is_enough_for_a_package_outside(outside: str, cellstate: Command) -> None:
    run = train(outside)
    for attempt in (package.load, package.evaluate, package.inspect):
        with pytest.raises(RequestError, match=r"has backbone='mycells\.minimal\.Min.*trust=\[PACKAGE\]"):
            attempt(run.folder)  # type: ignore[operator]
    used(cellstate, "trust=[mycells]")


def test_a_class_in_the_package_needs_no_entry_in_any_list(within: str, cellstate: Command) -> None:
    train(within)
    used(cellstate)
