"""The flow of gradients against autograd, and against what theory says of linear networks and of frozen gates."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn

from cellstate.backbone import LSTM
from cellstate.config.compose import compose
from cellstate.data.batch import Batch
from cellstate.inspection.analysis import capture, gradient_flow, loss_flow, open_states
from cellstate.inspection.teaching import random_bits, three_units
from cellstate.training.build import build_data, build_model
from cellstate.training.settings import Settings

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def last_of(weights):
    """A loss that reads the last output alone."""
    return lambda outputs: (outputs[:, -1] * weights).sum()


def linear(matrix):
    """A simple network whose tanh is at 0 and whose states stay there: linear in every derivative, to the bit."""
    network = nn.RNN(1, len(matrix), batch_first=True).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.weight_hh_l0.copy_(matrix)
    return network


class TestAgainstAutograd:
    @pytest.mark.parametrize("lengths", [None, torch.tensor([5, 2, 4])], ids=["full", "padded"])
    @pytest.mark.parametrize(("layers", "bidirectional"), list(product([1, 2], [False, True])))
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_gradient_of_the_inputs_is_autograds(self, kind, layers, bidirectional, lengths):
        torch.manual_seed(0)
        network = KINDS[kind](3, 4, layers, bidirectional=bidirectional, batch_first=True).double()
        inputs = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
        stops = [5, 5, 5] if lengths is None else lengths.tolist()
        weights = torch.randn(3, 5, 4 * (1 + bidirectional), dtype=torch.float64)
        weights.masked_fill_((torch.arange(5) >= torch.tensor(stops).unsqueeze(1)).unsqueeze(-1), 0)
        for row, stop in enumerate(stops):  # each row alone: no padding
            (network(inputs[row : row + 1, :stop])[0].sin() * weights[row, :stop]).sum().backward()
        states = open_states(network, inputs.detach(), None, lengths)
        flow = loss_flow(lambda outputs: (outputs.sin() * weights).sum(), states)
        torch.testing.assert_close(flow.inputs, inputs.grad, rtol=1e-10, atol=1e-12)

    def test_the_gradients_of_all_states_are_those_of_a_network_that_goes_step_by_step(self):
        torch.manual_seed(0)
        network = nn.LSTM(3, 4, batch_first=True).double()
        cell = nn.LSTMCell(3, 4).double()
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in network.state_dict().items()})
        inputs, weights = torch.randn(2, 6, 3).double(), torch.randn(2, 6, 4).double()
        state, hidden, cells = None, [], []
        for step in range(6):
            state = cell(inputs[:, step], state)
            for tensor, kept in zip(state, (hidden, cells), strict=True):
                tensor.retain_grad()
                kept.append(tensor)
        (torch.stack(hidden, 1).sin() * weights).sum().backward()
        flow = loss_flow(lambda outputs: (outputs.sin() * weights).sum(), open_states(network, inputs)).layers[0]
        torch.testing.assert_close(flow.hidden, torch.stack([tensor.grad for tensor in hidden], 1), rtol=1e-10, atol=0)
        torch.testing.assert_close(flow.cell, torch.stack([tensor.grad for tensor in cells], 1), rtol=1e-10, atol=0)


class TestTheory:
    @pytest.mark.parametrize("radius", [0.5, 1.0, 1.3])
    def test_slope_of_a_linear_network_is_the_log_of_the_spectral_radius(self, radius):
        torch.manual_seed(0)
        orthogonal = nn.init.orthogonal_(torch.empty(6, 6, dtype=torch.float64))
        network = linear(radius * orthogonal)
        states = open_states(network, torch.zeros(3, 40, 1))
        flow = loss_flow(last_of(torch.randn(3, 6).double()), states).layers[0]
        # U' is radius times a rotation: every step back multiplies the norm by the radius exactly.
        assert flow.slope() == pytest.approx(math.log(radius), abs=1e-10)
        assert (flow.norms()[:, -1] > 0).all()

    @pytest.mark.parametrize("radius", [0.5, 1.0, 1.3])
    def test_the_norms_of_a_linear_network_are_on_a_line_also_a_flat_one(self, radius):
        torch.manual_seed(0)
        network = linear(radius * nn.init.orthogonal_(torch.empty(6, 6, dtype=torch.float64)))
        flow = loss_flow(last_of(torch.randn(3, 6).double()), open_states(network, torch.zeros(3, 40, 1))).layers[0]
        fit = flow.fit()
        assert fit.straight
        assert fit.apart < 1e-9
        assert fit.high - fit.low == pytest.approx(39 * abs(math.log(radius)), abs=1e-9)

    def test_a_gradient_that_falls_and_rises_again_is_on_no_line_whatever_its_slope(self):
        # The network written by hand: nothing of dL/dh passes but at both ends, where h is read; its cells carry all.
        model, given = three_units(), random_bits(8, 0)
        flow = capture(model, given.inspected).gradient_flow().layers[0]
        assert not flow.fit().straight
        assert flow.fit().high - flow.fit().low > 10
        assert flow.fit("cell").straight
        forget = 1 / (1 + math.exp(-8))  # the latch's gate: what a cell hands on with each step back
        assert flow.fit("cell").slope == pytest.approx(math.log(forget), rel=1e-2)

    def test_a_single_step_has_no_slope(self):
        fit = loss_flow(lambda outputs: outputs.sum(), open_states(nn.RNN(1, 2), torch.zeros(1, 1, 1))).layers[0].fit()
        assert math.isnan(fit.slope)
        assert not fit.straight

    def test_slope_of_any_linear_network_tends_to_the_log_of_its_spectral_radius(self):
        torch.manual_seed(1)
        matrix = torch.rand(8, 8, dtype=torch.float64) / 5  # positive: one real eigenvalue leads (Perron, Frobenius)
        radius = torch.linalg.eigvals(matrix).abs().max().item()
        states = open_states(linear(matrix), torch.zeros(1, 60, 1))
        flow = loss_flow(last_of(torch.randn(1, 8).double()), states).layers[0]
        assert flow.slope(first=0, last=20) == pytest.approx(math.log(radius), abs=1e-9)

    def test_the_same_holds_of_a_network_that_reads_from_the_end(self):
        torch.manual_seed(0)
        network = nn.RNN(1, 6, batch_first=True, bidirectional=True).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            network.weight_hh_l0_reverse.copy_(0.8 * nn.init.orthogonal_(torch.empty(6, 6)))
        states = open_states(network, torch.zeros(2, 30, 1))
        flow = loss_flow(lambda outputs: outputs[:, 0].sum(), states)
        assert flow.layers[1].name == "l0_reverse"
        assert flow.layers[1].slope() == pytest.approx(math.log(0.8), abs=1e-6)

    @pytest.mark.parametrize(("kind", "part", "gate"), [("lstm", "cell", 1), ("gru", "hidden", 1)])
    def test_gradients_of_frozen_gates_are_their_product(self, kind, part, gate):
        torch.manual_seed(0)
        network = KINDS[kind](1, 5, batch_first=True).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            network.bias_ih_l0.view(-1, 5)[gate] = torch.tensor([-1.0, 0.0, 1.0, 2.0, 5.0])
        kept = torch.tensor([-1.0, 0.0, 1.0, 2.0, 5.0], dtype=torch.float64).sigmoid()
        states = open_states(network, torch.zeros(2, 12, 1), None)
        flow = loss_flow(last_of(torch.ones(2, 5).double()), states).layers[0]
        gradient = getattr(flow, part)
        back = torch.arange(11, -1, -1).view(1, 12, 1)
        torch.testing.assert_close(gradient / gradient[:, -1:], (kept**back).expand(2, -1, -1), rtol=1e-12, atol=0)
        torch.testing.assert_close(flow.carry, (back * kept.log()).expand(2, -1, -1), rtol=1e-12, atol=1e-14)

    def test_the_carry_path_is_what_reaches_an_earlier_cell_from_a_later_one_along_the_cells(self):
        torch.manual_seed(0)
        network = nn.LSTM(2, 3, batch_first=True).double()
        with torch.no_grad():
            network.weight_hh_l0.zero_()  # what is left of the way back are the cells
        states = open_states(network, torch.randn(2, 9, 2))
        flow = loss_flow(last_of(torch.randn(2, 3).double()), states).layers[0]
        torch.testing.assert_close(flow.cell, flow.cell[:, -1:] * flow.carry.exp(), rtol=1e-12, atol=0)

    def test_a_simple_network_has_no_carry_path_and_no_cell(self):
        flow = loss_flow(lambda outputs: outputs.sum(), open_states(nn.RNN(1, 2), torch.zeros(1, 3, 1))).layers[0]
        assert flow.carry is None
        with pytest.raises(ValueError, match="l0 has no cell state"):
            flow.norms("cell")

    def test_steps_after_the_last_that_counts_get_no_gradient_and_do_not_spoil_the_slope(self):
        states = open_states(linear(0.5 * torch.eye(2)), torch.zeros(1, 10, 1))
        flow = gradient_flow(states, torch.zeros(1, 10, 2).index_fill(1, torch.tensor([5]), 1.0)).layers[0]
        assert not flow.hidden[:, 6:].any()
        assert flow.slope() == pytest.approx(math.log(0.5))


def model_and_batch(experiment, *words, rows=6):
    config, _ = compose("train", [f"experiment={experiment}", "backbone.hidden_size=8", *words])
    torch.manual_seed(0)
    data = build_data(Settings.of(config))
    whole = next(iter(data.loader("val", shuffle=False)))
    return build_model(Settings.of(config), data), Batch(*(None if part is None else part[:rows] for part in whole))


class TestModels:
    @pytest.mark.parametrize(
        ("experiment", "words"),
        [
            ("pattern_bilstm", []),
            ("pattern_stacked", ["backbone=gru"]),
            ("markov", []),
            ("labelled", ["backbone=lstm_transparent"]),
            ("sine", []),
            ("series", ["backbone=rnn"]),
        ],
    )
    def test_a_models_own_loss_flows_back_to_what_its_backbone_reads(self, experiment, words):
        model, batch = model_and_batch(experiment, *words)
        model.double()
        if batch.inputs.is_floating_point():
            batch = batch._replace(inputs=batch.inputs.double())
        if batch.targets.is_floating_point():
            batch = batch._replace(targets=batch.targets.double())
        found = capture(model, batch)
        flow = found.gradient_flow()
        inputs = found.inputs.clone().requires_grad_()
        hook = model.backbone.register_forward_pre_hook(
            lambda _, args, options: ((inputs, *args[1:]), options), with_kwargs=True
        )
        model.eval()
        model.loss(model.compute_output(batch), batch).backward()
        hook.remove()
        torch.testing.assert_close(flow.inputs, inputs.grad, rtol=1e-7, atol=1e-13)
        assert flow.arrays()["l0.dh_norm"].shape == found.inputs.shape[:2]

    def test_a_language_model_is_captured_without_touching_the_state_that_it_carries(self):
        model, batch = model_and_batch("char_lm", rows=3)
        model.train()
        carried = tuple(torch.randn(1, 3, 8) for _ in range(2))
        model._carried["eval"] = carried
        found = capture(model, batch)
        assert model._carried["eval"] is carried
        assert model.training
        assert isinstance(model.backbone, LSTM)
        assert found.states().layers[0].h.shape == (*batch.inputs.shape, 8)
        assert found.loss == pytest.approx(math.log(len(model.spec.vocabulary)), rel=0.1)  # untrained
