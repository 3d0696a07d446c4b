"""The transparent networks against torch's own, against finite differences, and their weights both ways."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn

from cellstate.backbone import GRU, LSTM, RNN, TransparentGRU, TransparentLSTM, TransparentRNN
from cellstate.backbone.transparent import fast, to_torch, transparent
from cellstate.backbone.transparent.gru import GRUFunction
from cellstate.backbone.transparent.lstm import LSTMFunction
from cellstate.backbone.transparent.rnn import RNNFunction


def relu_rnn(*sizes, **options):
    return nn.RNN(*sizes, nonlinearity="relu", **options)


PLAIN = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": relu_rnn}
PAIRS = [(LSTM, TransparentLSTM), (GRU, TransparentGRU), (RNN, TransparentRNN)]
kinds = pytest.mark.parametrize("kind", PLAIN)
both = pytest.mark.parametrize(("layers", "bidirectional"), list(product([1, 2], [False, True])))


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def run_plain(network, inputs, state):
    outputs, final = network(inputs, tuple(state) if len(state) > 1 else state[0])
    return outputs, as_tuple(final)


def results_of(run, network, inputs, state):
    """Outputs, states and gradients of a loss in which each number has a weight of its own."""
    inputs, state = inputs.clone().requires_grad_(), [tensor.clone().requires_grad_() for tensor in state]
    outputs, final = run(network, inputs, state)
    torch.manual_seed(7)
    loss = sum((tensor * torch.randn(tensor.shape, dtype=tensor.dtype)).sum() for tensor in (outputs, *final))
    (loss / math.sqrt(outputs.numel())).backward()
    return [outputs.detach(), *(tensor.detach() for tensor in final), inputs.grad, *(tensor.grad for tensor in state)]


def parameter_gradients(network):
    """The gradients of torch's weights, and of the sums of its biases (of a GRU's candidate: both biases)."""
    if isinstance(network, nn.RNNBase):
        for weights in network.all_weights:
            grads = [weight.grad for weight in weights]
            yield from grads[:3]
            if isinstance(network, nn.GRU):
                yield grads[3].chunk(3)[2]
        return
    for layer in network.layers:
        yield from (torch.cat([part.grad for part in layer.family(letter)]) for letter in "WUb")
        if hasattr(layer, "b_hn"):
            yield layer.b_hn.grad


def distance(found, expected):
    """|found - expected| / |expected|, in the 2-norm."""
    return ((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30)).item()


class TestAgainstTorch:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
    @both
    @kinds
    def test_outputs_states_and_all_gradients_are_equal(self, kind, layers, bidirectional, dtype, tolerance):
        for seed in range(4):
            torch.manual_seed(seed)
            rows, steps, features, hidden = (int(torch.randint(1, top, ())) for top in (9, 40, 12, 40))
            plain = PLAIN[kind](features, hidden, layers, batch_first=True, bidirectional=bidirectional).to(dtype)
            ours = transparent(plain)
            inputs = torch.randn(rows, steps, features, dtype=dtype)
            shape = (layers * (1 + bidirectional), rows, hidden)
            state = [torch.randn(shape, dtype=dtype) for _ in range(2 if kind == "lstm" else 1)]
            expected = results_of(run_plain, plain, inputs, state)
            found = results_of(lambda network, *given: network(*given), ours, inputs, state)
            expected += parameter_gradients(plain)
            found += parameter_gradients(ours)
            assert max(map(distance, found, expected)) <= tolerance, [*map(distance, found, expected)]

    @kinds
    def test_without_gradients_it_gives_the_same_numbers(self, kind):
        torch.manual_seed(0)
        ours = transparent(PLAIN[kind](3, 5))
        inputs = torch.randn(2, 6, 3)
        with torch.no_grad():
            outputs, state = ours(inputs)
        assert not outputs.requires_grad
        expected, expected_state = ours(inputs)
        torch.testing.assert_close([outputs, *state], [expected.detach(), *expected_state], rtol=0, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_the_cell_state_is_frozen_to_the_bit_over_padding(self, dtype):
        torch.manual_seed(0)
        ours = TransparentLSTM(input_size=2, hidden_size=16).to(dtype)
        inputs = torch.randn(2, 300, 2, dtype=dtype)
        short, long = (ours(inputs[:, :steps], None, torch.tensor([3, steps]))[1] for steps in (4, 300))
        assert torch.equal(short[0][:, 0], long[0][:, 0])
        assert torch.equal(short[1][:, 0], long[1][:, 0])

    def test_relu_states_that_grow_beyond_all_numbers_on_padding_do_not_reach_the_gradient(self):
        torch.manual_seed(0)
        ours = TransparentRNN(input_size=1, hidden_size=2, nonlinearity="relu")
        with torch.no_grad():
            ours.network["l0"].U_h.copy_(1e4 * torch.eye(2))
            ours.network["l0"].W_h.fill_(1.0)
        inputs = torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 40, 1)  # after 40 steps: 1e160, and 0
        assert ours(inputs)[0].isinf().any()
        ours(inputs, None, torch.tensor([2, 40]))[0].sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


class TestDerivative:
    """The derivation against finite differences, in float64, with all weights and initial states of random size."""

    def arguments(self, gates, states, *, padded, more=0):
        torch.manual_seed(3)
        steps, rows, features, hidden = 4, 3, 2, 3

        def draw(*shape):
            return torch.randn(shape, dtype=torch.float64, requires_grad=True)

        state = [draw(rows, hidden) for _ in range(states)]
        weights = [draw(hidden, features) for _ in range(gates)] + [draw(hidden, hidden) for _ in range(gates)]
        weights += [draw(hidden) for _ in range(gates + more)]
        lengths = torch.tensor([4, 2, 1]) if padded else torch.full((3,), 4)
        padding = torch.arange(steps).unsqueeze(1) >= lengths
        return draw(steps, rows, features), state, padding if padded else None, weights

    def valid_parts(self, results, padding):
        """What means something: outputs before the padding, and the state that is carried over it."""
        outputs, *final = results
        if padding is None:
            return (outputs, *final)
        return (outputs.masked_fill(padding.unsqueeze(-1), 0), *final[1:])

    @pytest.mark.parametrize("padded", [False, True])
    def test_lstm_gradients_of_all_eight_matrices_and_biases_equal_finite_differences(self, padded):
        inputs, state, padding, weights = self.arguments(4, 2, padded=padded)

        def run(inputs, h, c, *weights):
            return self.valid_parts(LSTMFunction.apply(inputs, h, c, padding, *weights), padding)

        assert len(weights) == 12
        assert torch.autograd.gradcheck(run, (inputs, *state, *weights))

    @pytest.mark.parametrize("padded", [False, True])
    def test_gru_gradients_equal_finite_differences(self, padded):
        inputs, state, padding, weights = self.arguments(3, 1, padded=padded, more=1)

        def run(inputs, h, *weights):
            return self.valid_parts(GRUFunction.apply(inputs, h, padding, *weights), padding)

        assert torch.autograd.gradcheck(run, (inputs, *state, *weights))

    @pytest.mark.parametrize("phi", ["tanh", "relu"])
    @pytest.mark.parametrize("padded", [False, True])
    def test_rnn_gradients_equal_finite_differences(self, padded, phi):
        inputs, state, padding, weights = self.arguments(1, 1, padded=padded)

        def run(inputs, h, *weights):
            return self.valid_parts(RNNFunction.apply(inputs, h, padding, phi, *weights), padding)

        assert torch.autograd.gradcheck(run, (inputs, *state, *weights))

    @pytest.mark.parametrize("part", [0, 1, 2], ids=["outputs", "h", "c"])
    def test_each_part_of_the_result_may_be_the_only_one_in_the_loss(self, part):
        torch.manual_seed(0)
        plain = nn.LSTM(2, 3, batch_first=True).double()
        ours, gradients = transparent(plain), []
        inputs = torch.randn(2, 5, 2, dtype=torch.float64)
        for network in (plain, ours):
            outputs, state = network(inputs)
            (outputs, *state)[part].sin().sum().backward()
            gradients.append(list(parameter_gradients(network)))
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)

    def test_gradients_of_gradients_are_refused_in_words(self):
        ours = TransparentLSTM(input_size=2, hidden_size=3)
        inputs = torch.randn(1, 4, 2, requires_grad=True)
        with pytest.raises(RuntimeError, match="hand-written first derivatives and no second"):
            torch.autograd.grad(ours(inputs)[0].sum(), inputs, create_graph=True)

    def test_an_output_changed_before_the_backward_pass_is_noticed(self):
        ours = TransparentLSTM(input_size=2, hidden_size=3)
        with pytest.raises(RuntimeError, match=r"in-?place"):
            ours(torch.randn(1, 4, 2))[0].mul_(2).sum().backward()

    def test_one_backward_pass_after_another_gives_the_same(self):
        torch.manual_seed(0)
        ours = TransparentGRU(input_size=2, hidden_size=3)
        loss = ours(torch.randn(2, 4, 2))[0].square().sum()
        parameters = list(ours.parameters())
        first, second = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
        assert all(map(torch.equal, first, second))


class TestConversion:
    @both
    @kinds
    def test_a_network_given_back_is_as_it_was_to_the_bit(self, kind, layers, bidirectional):
        ours = transparent(PLAIN[kind](3, 5, layers, bidirectional=bidirectional))
        for there in (to_torch(ours), fast(ours)):
            again = transparent(there).state_dict()
            assert again.keys() == ours.state_dict().keys()
            assert all(torch.equal(again[name], tensor) for name, tensor in ours.state_dict().items())

    @both
    @kinds
    def test_a_plain_network_comes_back_with_the_same_outputs(self, kind, layers, bidirectional):
        torch.manual_seed(0)
        plain = PLAIN[kind](3, 5, layers, bidirectional=bidirectional, batch_first=True).double()
        inputs = torch.randn(2, 6, 3, dtype=torch.float64)
        for again in (to_torch(transparent(plain)), fast(plain), fast(transparent(plain))):
            torch.testing.assert_close(again(inputs)[0], plain(inputs)[0], rtol=1e-13, atol=1e-14)
        time_first = to_torch(transparent(plain), batch_first=False)
        torch.testing.assert_close(time_first(inputs.transpose(0, 1))[0].transpose(0, 1), plain(inputs)[0])

    @kinds
    def test_a_network_without_biases_is_one_whose_biases_are_zero(self, kind):
        torch.manual_seed(0)
        plain = PLAIN[kind](3, 5, bias=False, batch_first=True)
        inputs = torch.randn(2, 6, 3)
        torch.testing.assert_close(transparent(plain)(inputs)[0], plain(inputs)[0])

    def test_weights_stand_under_the_names_of_the_equations(self):
        plain = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
        ours = transparent(plain)
        blocks = dict(zip("ifco", plain.weight_hh_l1_reverse.chunk(4), strict=True))
        for gate in "fioc":
            assert torch.equal(getattr(ours.network["l1_reverse"], f"U_{gate}"), blocks[gate])
        one = {name.rsplit(".", 1)[1] for name in ours.state_dict() if ".l0." in name}
        assert one == {f"{letter}_{gate}" for letter in "WUb" for gate in "fioc"}

    def test_taken_over_weights_are_copies(self):
        plain = nn.LSTM(3, 5)
        ours, before = transparent(plain), plain.weight_ih_l0.detach().clone()
        with torch.no_grad():
            ours.network["l0"].W_f.zero_()
            to_torch(ours).weight_ih_l0.zero_()
        assert torch.equal(plain.weight_ih_l0, before)
        assert ours.network["l0"].W_i.any()

    def test_converting_draws_no_random_numbers_and_keeps_mode_dropout_and_type(self):
        plain = nn.GRU(3, 5, num_layers=2, dropout=0.25).to(torch.bfloat16).eval()
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        ours = transparent(plain)
        assert torch.equal(torch.rand(3), expected)
        assert (ours.training, ours.dropout, next(ours.parameters()).dtype) == (False, 0.25, torch.bfloat16)
        assert (to_torch(ours).dropout, to_torch(ours).training) == (0.25, False)

    def test_projections_and_other_networks_are_refused_in_words(self):
        with pytest.raises(ValueError, match=r"proj_size=2: networks with projections cannot be converted"):
            transparent(nn.LSTM(3, 5, proj_size=2))
        with pytest.raises(ValueError, match="a Linear cannot be converted"):
            transparent(nn.Linear(3, 5))


class TestInitialisation:
    @pytest.mark.parametrize(
        "options", [{}, {"chrono_steps": 40}, {"recurrent_init": "uniform"}, {"num_layers": 2, "bidirectional": True}]
    )
    @pytest.mark.parametrize(("kernel", "equations"), PAIRS)
    def test_the_same_seed_draws_the_same_network_and_leaves_the_same_generator(self, kernel, equations, options):
        inputs, results = torch.randn(2, 5, 3), []
        for kind in (kernel, equations):
            torch.manual_seed(4)
            network = kind(input_size=3, hidden_size=6, **options)
            results.append([network(inputs)[0], torch.rand(3)])
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)

    def test_forget_bias_is_where_it_belongs(self):
        layer = TransparentLSTM(input_size=3, forget_bias=2.5).network["l0"]
        assert layer.b_f.unique().tolist() == [2.5]
        assert not any(bias.any() for bias in layer.family("b", "ioc"))


class TestAutocast:
    @pytest.mark.parametrize("lengths", [None, torch.tensor([6, 2, 4])], ids=["full", "padded"])
    @pytest.mark.parametrize("kind", [TransparentLSTM, TransparentGRU, TransparentRNN])
    def test_bfloat16_autocast_runs_and_stays_near_float32(self, kind, lengths):
        torch.manual_seed(0)
        ours = kind(input_size=3, hidden_size=16, num_layers=2)
        inputs = torch.randn(3, 6, 3)
        with torch.autocast("cpu", torch.bfloat16):
            outputs, state = ours(inputs, None, lengths)
            ours(inputs, state, lengths)
        assert {tensor.dtype for tensor in (outputs, *state)} == {torch.bfloat16}
        outputs.float().sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in ours.parameters())
        # bfloat16 keeps 8 bits: 2^-8 a rounding, some roundings a step
        torch.testing.assert_close(outputs.float(), ours(inputs, None, lengths)[0], rtol=0, atol=0.05)

    def test_dropout_falls_between_the_layers_and_only_in_training(self):
        torch.manual_seed(0)
        ours = TransparentLSTM(input_size=2, hidden_size=50, num_layers=2, dropout=0.5)
        inputs = torch.randn(2, 6, 2)
        (first, (hidden, _)), (second, (again, _)) = ours(inputs), ours(inputs)
        assert not torch.allclose(first, second)
        assert torch.equal(hidden[0], again[0])  # the lower layer comes before the dropout
        ours.eval()
        assert torch.equal(ours(inputs)[0], ours(inputs)[0])
