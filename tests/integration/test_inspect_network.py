"""``inspect_network``: what a plain script trained, opened with its own inputs, names and functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from tests.conftest import Command, slow
from torch import nn

import cellstate as package
from cellstate.errors import RequestError
from cellstate.inspection.analysis import load_plain
from cellstate.inspection.page import heat, memory
from cellstate.plotting.theme import LIGHT, THEMES, Theme, channels


@pytest.mark.usefixtures("working_folder")
def test_a_network_of_a_plain_script_is_opened_with_its_own_head():
    torch.manual_seed(0)
    plain, head = nn.LSTM(2, 5, 2, batch_first=True, bidirectional=True), nn.Linear(10, 3)
    torch.save({"lstm." + name: value for name, value in plain.state_dict().items()}, "model.pt")
    inputs = torch.randn(40, 9, 2)
    found = package.inspect_network(
        load_plain("model.pt"),
        inputs,
        loss=lambda outputs: nn.functional.cross_entropy(head(outputs[:, -1]), torch.zeros(40, dtype=torch.long)),
        predict=lambda outputs: head(outputs[:, -1]),
        output="seen",
    )
    with torch.no_grad():
        outputs, _ = plain(inputs)
    np.testing.assert_allclose(
        np.concatenate([found.arrays()["l1.h"], found.arrays()["l1_reverse.h"]], -1), outputs.numpy(), atol=1e-6
    )
    assert Path("seen/report.html").is_file()
    assert found.influence is not None
    assert found.influence.values[0] > 0
    # dL/dh of the upper layer is autograd's own.
    leaf = outputs.clone().requires_grad_()
    nn.functional.cross_entropy(head(leaf[:, -1]), torch.zeros(40, dtype=torch.long)).backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(
        found.arrays()["l1.dh_norm"][:, -1], leaf.grad[:, -1, :5].norm(dim=-1).numpy(), rtol=1e-4
    )


@pytest.mark.usefixtures("working_folder")
def test_arrays_and_lists_of_numbers_are_taken_as_the_tensor_that_they_are():
    torch.manual_seed(0)
    network, inputs, lengths = nn.GRU(1, 4), torch.randn(3, 6, 1), torch.tensor([6, 2, 4])
    expected = package.inspect_network(network, inputs, lengths=lengths).arrays()
    padded = inputs.masked_fill((torch.arange(6) >= lengths[:, None]).unsqueeze(-1), torch.nan)
    for given, stops in (
        (inputs.numpy(), lengths.numpy()),
        (inputs.double().numpy()[::-1][::-1].astype(">f8"), [6, 2, 4]),
        (inputs.tolist(), lengths.tolist()),
        (inputs.clone().requires_grad_(), lengths),
        (padded, lengths),
    ):
        for name, values in package.inspect_network(network, given, lengths=stops).arrays().items():
            if name != "keys":
                np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    bits = package.inspect_network(network, [[[0], [1], [1]], [[1], [0], [1]]])  # whole numbers, as a list has them
    assert bits.arrays()["inputs"].tolist() == [[[0], [1], [1]], [[1], [0], [1]]]


def strip_of(features: int, names: list[str] | None, theme: Theme) -> tuple[Any, np.ndarray]:
    """What is drawn above the heat maps of a network, and what it stands for."""
    torch.manual_seed(0)
    inputs = torch.randn(3, 7, features)
    found = package.inspect_network(nn.LSTM(features, 4), inputs, features=names, sequence=2)
    with matplotlib.rc_context(theme.rc()):
        return heat.draw(theme, found, found.states.layers[0], found.units[0]).axes[0], inputs[1].numpy()


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("names", [["load", "wind"], ["load", "wind", "sun"], None])
def test_a_few_features_are_lines_of_their_own_colours_each_named_in_it(theme, names):
    count = 3 if names is None else len(names)
    axes, values = strip_of(count, names, theme)
    np.testing.assert_allclose([line.get_ydata() for line in axes.lines], values.T, rtol=1e-6)
    colours = [line.get_color() for line in axes.lines]
    assert len(set(colours)) == count
    beside = {text.get_text(): text.get_color() for text in axes.texts}
    assert beside == dict(zip(names or ["feature 1", "feature 2", "feature 3"], colours, strict=True))
    shown = [channels(colour) for colour in theme.palette(heat=True)]
    assert all(channels(colour) in shown for colour in colours), (
        "a colour that the PNG cannot show is another one in it"
    )


@pytest.mark.parametrize("count", [4, 24, 60])
def test_many_features_are_a_heat_map_each_row_named_and_at_its_own_scale(count):
    names = [f"sensor {number}" for number in range(count)]
    axes, values = strip_of(count, names, LIGHT)
    (image,) = axes.images
    low, high = values.min(0), values.max(0)
    np.testing.assert_allclose(np.asarray(image.get_array()), ((values - low) / (high - low)).T, rtol=1e-5)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (0.5, 7.5, count + 0.5, 0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == (names if count <= 40 else [])
    assert axes.get_ylabel() == ("" if count <= 40 else "60 features")


GOOD = torch.zeros(4, 5, 1)


@pytest.mark.usefixtures("working_folder")
@pytest.mark.parametrize(
    ("given", "options", "complaint"),
    [
        (GOOD[..., 0], {}, "inputs of shape (4, 5): expected (B, T, F), sequences, steps and features; for one"),
        (GOOD.long(), {}, "inputs of type int64: expected floating-point numbers, such as inputs.float()"),
        (GOOD.bool().numpy(), {}, "inputs of type bool: expected floating-point numbers"),
        (GOOD.expand(4, 5, 3), {}, "inputs of shape (4, 5, 3): the LSTM reads 1 feature, got 3"),
        (GOOD[:0], {}, "inputs of shape (0, 5, 1): no sequences; pass at least one"),
        (GOOD[:, :0], {}, "inputs of shape (4, 0, 1): no steps; pass at least one"),
        ([], {}, "inputs of shape (0,): expected (B, T, F)"),
        ([[[1.0], [2.0]], [[1.0]]], {}, "lists of unequal lengths; pad them and pass lengths="),
        ("series.csv", {}, "inputs: a str without numbers; pass a numeric tensor"),
        (GOOD / GOOD, {}, "inputs: sequence 1 is nan at step 1, feature 1, the first of 20; pass finite numbers"),
        (np.full((4, 5, 1), 1e300), {}, "inputs: sequence 1 is inf at step 1"),
        (GOOD, {"sequence": 9}, "sequence=9: there are 4 sequences; choose one from 1 to 4"),
        (GOOD, {"lengths": [5, 5, 5]}, "lengths must have shape (4,)"),
        (GOOD, {"lengths": [5, 5, 5, 6]}, "lengths must be between 1 and 5"),
        (GOOD, {"lengths": torch.full((4,), 5.0)}, "lengths of type float32: expected integers"),
        (GOOD, {"features": ["load", "wind"]}, "features=['load', 'wind']: expected the names of the 1 feature"),
        (GOOD, {"features": "x"}, "features='x': expected the names of the 1 feature"),
        (GOOD, {"predict": lambda _: 1}, "predict: returned an int; it should return a tensor (B, K), 4 rows here"),
        (GOOD, {"predict": lambda out: out[:2, -1]}, "predict: returned a tensor (2, 3); it should return a tensor (B"),
        (GOOD, {"predict": lambda out: out[:, -1, :1]}, "logits (B, K) of 2 classes or more; for real values, pass"),
        (GOOD, {"predict": lambda out: out[:, -1] / 0}, "predict: returned numbers that are not finite"),
        (GOOD, {"predict": 3}, "predict: should be a function of tensors, not an int"),
        (GOOD, {"divergence": lambda *_: 0.5}, "divergence: returned a float; it should return a tensor (B,)"),
        (GOOD, {"loss": lambda out: out[:, -1]}, "loss: returned a tensor (4, 3); it should return one number"),
        (GOOD, {"loss": lambda _: 0.5}, "loss: returned a float; it should return one number, a tensor ()"),
        (GOOD, {"loss": lambda _: torch.ones(())}, "loss: has no gradient, as it does not depend on the outputs"),
        (GOOD, {"loss": lambda out: out.sum() * torch.nan}, "loss: returned nan"),
        (GOOD, {"units": 0}, "units=0: should be an integer greater than 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_at_is_one_line_and_leaves_nothing(given, options, complaint):
    torch.manual_seed(0)
    with pytest.raises(RequestError) as caught:
        package.inspect_network(nn.LSTM(1, 3, batch_first=True), given, output="seen", **options)
    (line,) = caught.value.problems
    assert complaint in line
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("working_folder")
def test_what_is_no_network_is_one_line():
    spoilt = nn.LSTM(1, 3)
    nn.init.constant_(spoilt.weight_ih_l0, torch.nan)
    cases: tuple[tuple[Any, str], ...] = (
        (nn.Linear(1, 3), "network: a Linear cannot be converted; give an nn.LSTM"),
        ("model.pt", "network: a str cannot be converted"),
        (nn.LSTM(1, 3, proj_size=2), "network: proj_size=2: networks with projections cannot be converted"),
        (spoilt, "network: its outputs are not finite"),
    )
    for network, complaint in cases:
        with pytest.raises(RequestError) as caught:
            package.inspect_network(network, GOOD, output="seen")
        assert complaint in str(caught.value)
        assert not list(Path().iterdir())


@pytest.mark.usefixtures("working_folder")
@pytest.mark.parametrize("output", ["there", *slow("a/b/seen", None)])
def test_a_page_that_cannot_be_drawn_leaves_nothing_behind(cellstate: Command, monkeypatch, output):
    Path("there").mkdir()

    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(memory, "memory", broken)
    words = [] if output is None else [f"output={output}"]
    with pytest.raises(RuntimeError, match="no ink"):
        cellstate("inspect", "walk=true", *words)
    if output is not None:
        with pytest.raises(RuntimeError, match="no ink"):
            package.inspect_network(nn.LSTM(1, 3), GOOD, output=output)
    assert [place.name for place in Path().rglob("*")] == ["there"]
