"""Gates and states that are read off the fast layers against networks computed step by step, and what units do."""

from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cellstate.backbone import LSTM
from cellstate.backbone.transparent import fast, lstm, to_torch, transparent
from cellstate.errors import RequestError
from cellstate.inspection.analysis import (
    describe_units,
    load_plain,
    open_states,
    order_by_memory,
    saturation,
    time_constants,
)

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
both = pytest.mark.parametrize(("layers", "bidirectional"), list(product([1, 2], [False, True])))


def by_hand(cell, inputs, state):
    """Gates and states of one row, step by step, from torch's cell weights by the textbook's equations."""
    size, rows = cell.hidden_size, []
    for x in inputs:
        of_x, of_h = cell.weight_ih @ x + cell.bias_ih, cell.weight_hh @ state["h"] + cell.bias_hh
        if isinstance(cell, nn.LSTMCell):
            i, f, g, o = (of_x + of_h).split(size)
            gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "candidate": g.tanh(), "output": o.sigmoid()}
            c = gates["forget"] * state["c"] + gates["input"] * gates["candidate"]
            state = {"h": gates["output"] * c.tanh(), "c": c}
        elif isinstance(cell, nn.GRUCell):
            (xr, xz, xn), (hr, hz, hn) = of_x.split(size), of_h.split(size)
            gates = {"reset": (xr + hr).sigmoid(), "update": (xz + hz).sigmoid()}
            gates["candidate"] = (xn + gates["reset"] * hn).tanh()
            state = {"h": (1 - gates["update"]) * gates["candidate"] + gates["update"] * state["h"]}
        else:
            gates, state = {}, {"h": (of_x + of_h).tanh()}
        rows.append({**state, **gates})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def cell_of(kind, network, layer, way):
    """torch's cell with the weights of one layer and direction."""
    weights = network.all_weights[layer * (1 + network.bidirectional) + way]
    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind](weights[0].shape[1], network.hidden_size)
    for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), weights, strict=True):
        setattr(cell, name, nn.Parameter(value.detach().clone()))
    return cell.double()


class TestStates:
    @pytest.mark.parametrize("padded", [False, True])
    @both
    @pytest.mark.parametrize("kind", KINDS)
    def test_all_gates_and_states_equal_the_equations_step_by_step(self, kind, layers, bidirectional, padded):
        torch.manual_seed(0)
        network = KINDS[kind](3, 4, layers, bidirectional=bidirectional, batch_first=True).double()
        inputs = torch.randn(3, 6, 3, dtype=torch.float64)
        start = [torch.randn(layers * (1 + bidirectional), 3, 4).double() for _ in range(2 if kind == "lstm" else 1)]
        lengths = torch.tensor([6, 2, 4]) if padded else torch.tensor([6, 6, 6])
        states = open_states(network, inputs, tuple(start), lengths if padded else None)
        assert [layer.name for layer in states.layers] == [
            f"l{depth}{way}" for depth in range(layers) for way in (("", "_reverse") if bidirectional else ("",))
        ]
        with torch.no_grad():
            for row, length in enumerate(lengths.tolist()):
                below = inputs[row, :length]
                for depth in range(layers):
                    outputs = []
                    for way in range(1 + bidirectional):
                        number = depth * (1 + bidirectional) + way
                        state = dict(zip("hc", (tensor[number, row] for tensor in start), strict=False))
                        read = below.flip(0) if way else below
                        expected = by_hand(cell_of(kind, network, depth, way), read, state)
                        found = states.layers[number].named()
                        assert found.keys() == expected.keys()
                        for name, values in expected.items():
                            values = values.flip(0) if way else values
                            torch.testing.assert_close(found[name][row, :length], values, rtol=1e-11, atol=1e-12)
                            assert not found[name][row, length:].any()
                        outputs.append(expected["h"].flip(0) if way else expected["h"])
                    below = torch.cat(outputs, dim=-1)

    @pytest.mark.parametrize("kind", KINDS)
    def test_float32_states_of_a_fast_layer_equal_the_transparent_ones_to_1e_5_at_512_steps(self, kind):
        torch.manual_seed(0)
        ours = transparent(KINDS[kind](8, 64))
        inputs = torch.randn(2, 512, 8)
        found = open_states(fast(ours), inputs).layers[0]
        with torch.no_grad():
            outputs, state = ours(inputs)
            if kind == "lstm":
                weights = lstm.Stacked.of_torch(*to_torch(ours).all_weights[0])
                trace = lstm.forward_pass(inputs.transpose(0, 1), (torch.zeros(2, 64),) * 2, weights)
                for gate, letter in (("forget", "f"), ("input", "i"), ("output", "o"), ("candidate", "c")):
                    assert (found.gates[gate] - trace.gate(letter).transpose(0, 1)).abs().max() <= 1e-5
                assert (found.c - trace.cell[1:].transpose(0, 1)).abs().max() <= 1e-5
                assert (found.c[:, -1] - state[1][0]).abs().max() <= 1e-5
        assert (found.h - outputs).abs().max() <= 1e-5

    def test_reading_them_off_is_many_times_faster_than_going_step_by_step(self):
        # scripts/benchmark_transparent.py measures by how much; here only that it is of another order.
        torch.manual_seed(0)
        ours = transparent(nn.LSTM(8, 32))
        quick, inputs = fast(ours), torch.randn(1, 512, 8)

        def seconds(run):
            best = math.inf
            for _ in range(4):
                began = time.perf_counter()
                run()
                best = min(best, time.perf_counter() - began)
            return best

        def step_by_step():
            state = ours.initial_state(1)
            with torch.no_grad():
                for step in range(512):
                    _, state = ours.step(inputs[:, step], state)

        assert seconds(step_by_step) > 3 * seconds(lambda: open_states(quick, inputs))

    def test_any_form_of_one_network_gives_the_same_states(self):
        torch.manual_seed(0)
        ours = transparent(nn.LSTM(3, 4, 2, bidirectional=True)).double()
        inputs = torch.randn(2, 5, 3, dtype=torch.float64)
        arrays = [open_states(network, inputs).arrays() for network in (ours, fast(ours), to_torch(ours))]
        assert arrays[0].keys() == arrays[1].keys() == arrays[2].keys()
        for name in arrays[0]:
            np.testing.assert_allclose(arrays[0][name], arrays[1][name], rtol=1e-12)
            np.testing.assert_allclose(arrays[0][name], arrays[2][name], rtol=1e-12)
        assert {"l1_reverse.c", "l0.forget", "valid"} <= arrays[0].keys()

    @pytest.mark.parametrize("lengths", [None, torch.tensor([7, 3])])
    @pytest.mark.parametrize("kind", KINDS)
    def test_outputs_that_are_at_hand_spare_the_upper_layer_and_change_nothing(self, kind, lengths):
        torch.manual_seed(0)
        network = fast(KINDS[kind](3, 4, 2, bidirectional=True).double())
        inputs = torch.randn(2, 7, 3).double()
        outputs = network(inputs, None, lengths)[0]
        expected, found = (open_states(network, inputs, None, lengths, given).arrays() for given in (None, outputs))
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12)

    @pytest.mark.parametrize("steps", [1, 2, 7, 50, 512])
    @pytest.mark.parametrize("width", [1, lstm.NARROW, lstm.NARROW + 1])
    def test_a_scan_in_blocks_is_the_recurrence(self, steps, width):
        torch.manual_seed(0)
        kept, written = torch.rand(steps, 1, width).double(), torch.randn(steps, 1, width).double()
        kept[steps // 2] = 0
        kept[steps // 3 :: 5] = 1
        state = start = torch.randn(1, width).double()
        for step, found in enumerate(lstm.scan(kept, written, start)):
            state = kept[step] * state + written[step]
            torch.testing.assert_close(found, state, rtol=1e-12, atol=1e-13)

    def test_opening_a_network_leaves_it_and_the_random_numbers_alone(self):
        torch.manual_seed(0)
        network = LSTM(input_size=3, hidden_size=4, num_layers=2, dropout=0.5)
        before, expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}, torch.rand(2)
        torch.manual_seed(0)
        LSTM(input_size=3, hidden_size=4, num_layers=2, dropout=0.5)
        first = open_states(network, torch.ones(1, 5, 3)).outputs
        assert torch.equal(torch.rand(2), expected)
        assert torch.equal(open_states(network, torch.ones(1, 5, 3)).outputs, first)  # no dropout
        assert network.training
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class TestUnits:
    def test_saturation_is_the_share_of_the_valid_steps(self):
        gate = torch.tensor([[0.05, 0.95, 0.5, 0.99]]).unsqueeze(-1)
        found = saturation(gate, torch.ones(1, 4, dtype=torch.bool))
        assert (found.shut.item(), found.open.item()) == (0.25, 0.5)
        found = saturation(gate, torch.tensor([[True, True, False, False]]))
        assert (found.shut.item(), found.open.item()) == (0.5, 0.5)

    @pytest.mark.parametrize(("kind", "gate"), [("lstm", 1), ("gru", 1)])
    def test_the_time_constant_is_that_of_the_decay_that_it_describes(self, kind, gate):
        torch.manual_seed(0)
        network = KINDS[kind](1, 5).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            biases = torch.tensor([-2.0, 0.0, 1.0, 3.0, 6.0], dtype=torch.float64)
            network.bias_ih_l0.view(-1, 5)[gate] = biases
        start = tuple(torch.ones(1, 1, 5).double() for _ in range(2 if kind == "lstm" else 1))
        states = open_states(network, torch.zeros(1, 40, 1), start).layers[0]
        units = describe_units(states)
        left = (states.c if kind == "lstm" else states.h)[0, -1]  # nothing is written: a pure decay over 40 steps
        torch.testing.assert_close(left, torch.exp(-40 / units.time_constant), rtol=1e-9, atol=0)
        assert order_by_memory(units).tolist() == [4, 3, 2, 1, 0]

    def test_a_gate_that_never_closes_keeps_for_ever(self):
        assert time_constants(torch.ones(1, 3, 1), torch.ones(1, 3, dtype=torch.bool)).item() == math.inf

    def test_a_simple_network_has_no_unit_that_keeps(self):
        units = describe_units(open_states(nn.RNN(1, 2), torch.zeros(1, 3, 1)).layers[0])
        assert units.time_constant is None
        with pytest.raises(ValueError, match="without forget or update gates"):
            order_by_memory(units)


class Script(nn.Module):
    """What a plain PyTorch script has."""

    def __init__(self, recurrent):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(7, 3), recurrent, nn.Linear(8, 2)


class TestPlain:
    @both
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_network_of_a_plain_script_is_opened_from_its_file(self, kind, layers, bidirectional, bias, tmp_path):
        torch.manual_seed(0)
        model = Script(KINDS[kind](3, 4, layers, bidirectional=bidirectional, bias=bias, batch_first=True))
        inputs = torch.randn(2, 5, 3)
        expected = model.rnn(inputs)[0]
        for number, content in enumerate((model.state_dict(), {"epoch": 3, "model_state_dict": model.state_dict()})):
            torch.save(content, tmp_path / f"{number}.pt")
            network = load_plain(tmp_path / f"{number}.pt", nonlinearity="tanh" if kind == "rnn" else None)
            torch.testing.assert_close(network(inputs)[0], expected)
            torch.testing.assert_close(open_states(network, inputs).outputs, expected)

    def test_weights_of_safetensors_are_those_of_a_file_of_torch(self, tmp_path):
        weights = nn.ModuleDict({"lstm": nn.LSTM(3, 4, 2), "head": nn.Linear(4, 1)}).state_dict()
        torch.save(weights, tmp_path / "model.pt")
        save_file(weights, tmp_path / "model.safetensors")
        of_torch, found = (load_plain(tmp_path / name) for name in ("model.pt", "model.safetensors"))
        assert all(torch.equal(tensor, of_torch.state_dict()[name]) for name, tensor in found.state_dict().items())
        (tmp_path / "cut.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-1])
        with pytest.raises(RequestError, match=r"cut\.safetensors: cannot be read as weights"):
            load_plain(tmp_path / "cut.safetensors")

    def test_several_networks_are_told_apart_by_their_prefix(self):
        model = nn.ModuleDict({"encoder": nn.LSTM(3, 4), "decoder": nn.GRU(3, 4)})
        with pytest.raises(
            RequestError, match="contains several recurrent networks; choose one with prefix=…: decoder, enc"
        ):
            load_plain(model.state_dict())
        with pytest.raises(RequestError, match=r"no recurrent network encx; choose one of decoder, encoder$"):
            load_plain(model.state_dict(), prefix="encx")
        assert isinstance(load_plain(model.state_dict(), prefix="encoder"), LSTM)

    @pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
    def test_the_nonlinearity_of_a_simple_network_is_asked_for_and_its_states_are_its_own(self, nonlinearity, tmp_path):
        torch.manual_seed(0)
        plain = nn.RNN(3, 4, 2, nonlinearity=nonlinearity, bidirectional=True, batch_first=True)
        torch.save(plain.state_dict(), tmp_path / "plain.pt")
        with pytest.raises(RequestError, match=r"plain\.pt: .* do not determine its nonlinearity; pass"):
            load_plain(tmp_path / "plain.pt")
        with pytest.raises(RequestError, match="nonlinearity='sigmoid': should be 'tanh' or 'relu'"):
            load_plain(tmp_path / "plain.pt", nonlinearity="sigmoid")  # type: ignore[arg-type]
        inputs = torch.randn(2, 5, 3)
        states = open_states(load_plain(tmp_path / "plain.pt", nonlinearity=nonlinearity), inputs)
        expected = plain(inputs)[0]
        torch.testing.assert_close(states.outputs, expected)
        torch.testing.assert_close(torch.cat([layer.h for layer in states.layers[2:]], -1), expected)

    @pytest.mark.parametrize(
        ("weights", "words"),
        [
            (nn.Linear(2, 2).state_dict(), "contains no recurrent network; expected weights"),
            (nn.LSTM(3, 4, proj_size=2).state_dict(), "projections"),
            ({**nn.LSTM(3, 4).state_dict(), "weight_hh_l0": torch.zeros(20, 4)}, "does not fit an LSTM, GRU or simple"),
            ({**nn.LSTM(3, 4).state_dict(), "bias_hh_l0": torch.zeros(3)}, r"bias_hh_l0 is \(3,\), expected \(16,\)"),
            (
                {**nn.LSTM(3, 4).state_dict(), "weight_ih_l7": torch.zeros(16, 4)},
                "of layer 7, but not of all lower",
            ),
            ({**nn.LSTM(3, 4).state_dict(), "bias_hh_l0": torch.zeros(16).int()}, "not floating-point numbers"),
        ],
    )
    def test_weights_that_are_none_of_a_recurrent_network_are_refused_in_words(self, weights, words):
        with pytest.raises(RequestError, match=words):
            load_plain(dict(weights))

    def test_files_that_are_no_weights_are_refused_and_run_nothing(self, tmp_path):
        torch.save(Script(nn.LSTM(3, 4)), tmp_path / "whole.pt")
        (tmp_path / "text.pt").write_text("none")
        torch.save([1, 2], tmp_path / "list.pt")
        for name, words in (
            ("whole", "could run code"),
            ("text", "cannot be read|could run"),
            ("list", "contains list"),
        ):
            with pytest.raises(RequestError, match=words):
                load_plain(tmp_path / f"{name}.pt")
        with pytest.raises(RequestError, match="no such file"):
            load_plain(tmp_path / "nothing.pt")
