"""The recurrent backbones against torch's packed sequences, and their initialisation against its theory."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import product
from typing import get_type_hints

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cellstate.backbone import GRU, LSTM, RNN
from cellstate.backbone.padding import Padding

KINDS = [LSTM, GRU, RNN, lambda **arguments: RNN(nonlinearity="relu", **arguments)]
KIND_NAMES = ["lstm", "gru", "rnn_tanh", "rnn_relu"]


def packed_run(network, inputs, state, lengths):
    """The reference: torch's own module over a packed sequence."""
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, final = network(packed, tuple(state) if len(state) > 1 else state[0])
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    return outputs, final if isinstance(final, tuple) else (final,)


def results_of(run, backbone, inputs, state, lengths):
    """Outputs and final state, and all gradients of a loss in which each of their numbers has its own weight."""
    backbone.zero_grad()
    inputs, state = inputs.clone().requires_grad_(), [tensor.clone().requires_grad_() for tensor in state]
    outputs, final = run(inputs, state, lengths)
    torch.manual_seed(7)
    loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in (outputs, *final))
    (loss / math.sqrt(outputs.numel())).backward()  # so that gradients are of scale 1, too
    gradients = {name: parameter.grad.clone() for name, parameter in backbone.named_parameters()}
    return {
        "outputs": outputs.detach(),
        **{f"state {index}": tensor.detach() for index, tensor in enumerate(final)},
        "input gradient": inputs.grad,
        **{f"gradient of state {index}": tensor.grad for index, tensor in enumerate(state)},
        **gradients,
    }


class TestPackedSequences:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
    @pytest.mark.parametrize(("layers", "bidirectional"), list(product([1, 2], [False, True])))
    @pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
    def test_outputs_states_and_gradients_equal_those_of_packed_sequences(
        self, kind, layers, bidirectional, dtype, tolerance
    ):
        for seed in range(3):
            torch.manual_seed(seed)
            rows, steps, features, hidden = (int(torch.randint(low, 12, ())) for low in (2, 3, 1, 1))
            backbone = kind(input_size=features, hidden_size=hidden, num_layers=layers, bidirectional=bidirectional)
            backbone.to(dtype)
            lengths = torch.randint(1, steps + 1, (rows,))
            lengths[:2] = torch.tensor([1, steps])
            inputs = torch.randn(rows, steps, features, dtype=dtype)
            state = [torch.randn_like(tensor) for tensor in backbone.initial_state(rows)]
            actual = results_of(backbone, backbone, inputs, state, lengths)
            expected = results_of(
                lambda *given, network=backbone.network: packed_run(network, *given), backbone, inputs, state, lengths
            )
            torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("kind", KINDS, ids=KIND_NAMES)
    def test_the_way_taken_on_cuda_gives_the_same(self, kind):
        torch.manual_seed(0)
        backbone = kind(input_size=3, hidden_size=5, num_layers=2, bidirectional=True).double()
        inputs, lengths = torch.randn(4, 6, 3, dtype=torch.float64), torch.tensor([6, 2, 1, 4])
        state = tuple(torch.randn_like(tensor) for tensor in backbone.initial_state(4))
        torch.testing.assert_close(
            backbone._run_packed(inputs, state, lengths), backbone(inputs, state, lengths), rtol=1e-12, atol=1e-12
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_cell_state_is_frozen_to_the_bit_over_any_amount_of_padding(self, dtype):
        torch.manual_seed(0)
        backbone = LSTM(input_size=2, hidden_size=16).to(dtype)
        inputs = torch.randn(2, 500, 2, dtype=dtype)
        short, cell = (backbone(inputs[:, :steps], None, torch.tensor([3, steps]))[1] for steps in (4, 500))
        assert torch.equal(short[1][:, 0], cell[1][:, 0])
        assert torch.equal(short[0][:, 0], cell[0][:, 0])

    @pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_analytic_gradients_equal_finite_differences(self, kind, bidirectional):
        torch.manual_seed(0)
        backbone = kind(input_size=2, hidden_size=2, bidirectional=bidirectional).double()
        inputs = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
        state = tuple(torch.randn_like(tensor).requires_grad_() for tensor in backbone.initial_state(2))

        def run(inputs, *state):
            outputs, final = backbone(inputs, state, torch.tensor([2, 3]))
            return outputs, *final

        assert torch.autograd.gradcheck(run, (inputs, *state))

    def test_dropout_falls_between_the_layers_and_only_in_training(self):
        torch.manual_seed(0)
        backbone = LSTM(input_size=2, hidden_size=50, num_layers=2, dropout=0.5)
        inputs, lengths = torch.randn(2, 6, 2), torch.tensor([6, 3])
        (first, (hidden, _)), (second, (again, _)) = (backbone(inputs, None, lengths) for _ in range(2))
        assert not torch.allclose(first, second)
        assert torch.equal(hidden[0], again[0])  # the lower layer comes before the dropout
        backbone.eval()
        assert torch.equal(backbone(inputs, None, lengths)[0], backbone(inputs, None, lengths)[0])
        torch.testing.assert_close(backbone(inputs, None, lengths)[0][:1], backbone(inputs[:1])[0])

    def test_lengths_of_another_shape_are_refused(self):
        with pytest.raises(ValueError, match=r"shape \(3,\), one per row"):
            LSTM(input_size=1)(torch.zeros(3, 4, 1), None, torch.tensor([4, 4]))

    def test_reversal_turns_each_valid_prefix_around(self):
        padding = Padding.of(torch.tensor([3, 1, 4]), 4)
        rows = torch.tensor([[1, 2, 3, 9], [1, 9, 9, 9], [1, 2, 3, 4]]).unsqueeze(-1)
        assert padding.reverse(rows).squeeze(-1).tolist() == [[3, 2, 1, 9], [1, 9, 9, 9], [4, 3, 2, 1]]
        assert torch.equal(padding.reverse(padding.reverse(rows)), rows)


class TestAutocast:
    @pytest.mark.parametrize("lengths", [None, torch.tensor([6, 2, 4])], ids=["full", "padded"])
    @pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
    def test_bfloat16_autocast_runs_and_stays_near_float32(self, kind, given, lengths):
        torch.manual_seed(0)
        backbone = kind(input_size=3, hidden_size=16, num_layers=2)
        inputs = torch.randn(3, 6, 3)
        with torch.autocast("cpu", torch.bfloat16):
            outputs, state = backbone(inputs.to(given), None, lengths)
            started, _ = backbone(inputs.to(given), backbone.initial_state(3), lengths)
            backbone(inputs.to(given), state, lengths)
        assert outputs.dtype == started.dtype == torch.bfloat16
        assert all(tensor.dtype == torch.bfloat16 for tensor in state)
        outputs.float().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())
        # bfloat16 keeps 8 bits: 2^-8 a rounding, some roundings a step
        torch.testing.assert_close(outputs.float(), backbone(inputs, None, lengths)[0], rtol=0, atol=0.05)


def gate(backbone, name, index, layer="l0"):
    """One gate's block of a parameter."""
    return getattr(backbone.network, f"{name}_{layer}").detach().split(backbone.network.hidden_size)[index]


def total_bias(backbone, index, layer="l0"):
    return gate(backbone, "bias_ih", index, layer) + gate(backbone, "bias_hh", index, layer)


class TestInitialisation:
    @pytest.mark.parametrize("layer", ["l0", "l0_reverse", "l1", "l1_reverse"])
    @pytest.mark.parametrize("bias", [1.0, -2.5])
    def test_forget_bias_is_the_total_of_both_biases_and_all_others_are_zero(self, bias, layer):
        backbone = LSTM(input_size=3, hidden_size=5, num_layers=2, bidirectional=True, forget_bias=bias)
        assert [total_bias(backbone, index, layer).unique().tolist() for index in range(4)] == [[0], [bias], [0], [0]]

    def test_forget_bias_is_1_unless_asked_otherwise(self):
        assert total_bias(LSTM(input_size=3), 1).unique().tolist() == [1]

    @pytest.mark.parametrize(("kind", "gates"), [(LSTM, 4), (GRU, 3), (RNN, 1)])
    def test_each_recurrent_gate_is_orthogonal(self, kind, gates):
        torch.manual_seed(0)
        backbone = kind(input_size=3, hidden_size=20, num_layers=2)
        for layer, index in product(["l0", "l1"], range(gates)):
            weight = gate(backbone, "weight_hh", index, layer)
            torch.testing.assert_close(weight @ weight.T, torch.eye(20), rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("kind", "gates"), [(LSTM, 4), (GRU, 3), (RNN, 1)])
    def test_each_input_gate_is_glorot_uniform(self, kind, gates):
        torch.manual_seed(0)
        features, hidden = 40, 200
        backbone = kind(input_size=features, hidden_size=hidden)
        bound = math.sqrt(6 / (features + hidden))  # of the gate's own fans, not of the stacked matrix's
        for index in range(gates):
            weight = gate(backbone, "weight_ih", index)
            assert 0.99 * bound < weight.abs().max() <= bound
            assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)

    def test_uniform_recurrent_weights_are_those_of_plain_torch(self):
        torch.manual_seed(0)
        weight = LSTM(input_size=3, hidden_size=100, recurrent_init="uniform").network.weight_hh_l0
        assert 0.099 < weight.abs().max() <= 0.1
        assert weight.var().item() == pytest.approx(0.1**2 / 3, rel=0.05)

    @pytest.mark.parametrize(("kind", "keep"), [(LSTM, 1), (GRU, 1)])
    @pytest.mark.parametrize("layer", ["l0", "l1_reverse"])
    def test_chrono_spreads_forgetting_times_evenly_up_to_the_longest_dependency(self, kind, keep, layer):
        torch.manual_seed(0)
        longest = 400
        backbone = kind(input_size=1, hidden_size=1000, num_layers=2, bidirectional=True, chrono_steps=longest)
        times = 1 / (1 - total_bias(backbone, keep, layer).double().sigmoid())
        # 1 / (1 - sigmoid(log u)) = 1 + u with u ~ U[1, T_max - 1]: uniform over [2, T_max]
        assert times.min() >= 2 - 1e-3
        assert times.max() <= longest + 0.1
        theory = torch.linspace(2, longest, 1000, dtype=torch.float64)
        assert (times.sort().values - theory).abs().max() / longest < 1.95 / math.sqrt(1000)  # Kolmogorov, p = 0.001

    def test_chrono_closes_the_lstm_input_gate_as_far_as_it_opens_the_forget_gate(self):
        backbone = LSTM(input_size=1, hidden_size=50, chrono_steps=100)
        assert torch.equal(total_bias(backbone, 0), -total_bias(backbone, 1))
        assert not total_bias(backbone, 2).any()
        assert not total_bias(backbone, 3).any()

    def test_chrono_leaves_the_other_gru_gates_alone(self):
        backbone = GRU(input_size=1, hidden_size=50, chrono_steps=100)
        assert not total_bias(backbone, 0).any()
        assert not total_bias(backbone, 2).any()

    @pytest.mark.parametrize("kind", [LSTM, GRU])
    def test_chrono_units_remember_for_as_long_as_their_bias_says(self, kind):
        torch.manual_seed(0)
        backbone = kind(input_size=1, hidden_size=6, chrono_steps=50).double()
        keep = total_bias(backbone, 1).sigmoid()
        with torch.no_grad():
            for name, parameter in backbone.network.named_parameters():
                if name.startswith("weight"):
                    parameter.zero_()
        start = tuple(torch.ones_like(tensor) for tensor in backbone.initial_state(1))
        _, state = backbone(torch.zeros(1, 20, 1, dtype=torch.float64), start)
        torch.testing.assert_close(state[-1].flatten(), keep**20)  # without inputs, m' = keep * m

    @pytest.mark.parametrize("kind", [LSTM, GRU])
    @pytest.mark.parametrize("steps", [1, 2])
    def test_chrono_over_an_empty_range_is_refused(self, kind, steps):
        with pytest.raises(ValueError, match=f"at least 3, not {steps}"):
            kind(input_size=1, chrono_steps=steps)

    def test_forget_bias_beside_chrono_is_refused(self):
        with pytest.raises(ValueError, match=r"remove forget_bias=2\.0"):
            LSTM(input_size=1, forget_bias=2.0, chrono_steps=10)


class TestOutside:
    def test_weights_of_a_plain_torch_network_can_be_taken_over(self):
        torch.manual_seed(0)
        plain = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)
        backbone = LSTM(input_size=3, hidden_size=5, num_layers=2, bidirectional=True)
        backbone.network.load_state_dict(plain.state_dict())
        inputs = torch.randn(2, 4, 3)
        assert torch.equal(backbone(inputs)[0], plain(inputs)[0])

    @pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
    @pytest.mark.parametrize(
        ("argument", "wrong", "right"),
        [("hidden_size", 0, 1), ("num_layers", 0, 1), ("dropout", 1.0, 0.9), ("recurrent_init", "eye", "uniform")],
    )
    def test_annotations_tell_right_arguments_from_wrong_ones(self, kind, argument, wrong, right):
        adapter = TypeAdapter(get_type_hints(kind.__init__, include_extras=True)[argument])
        assert adapter.validate_python(right) == right
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)

    def test_annotations_do_not_load_torch(self):
        check = "import sys, cellstate.config.types; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
