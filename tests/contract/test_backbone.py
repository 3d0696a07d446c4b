"""What ``cellstate.backbone.contract`` promises, of every backbone in ``conf/backbone/`` and in docs/design.md."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch
from omegaconf import OmegaConf

from cellstate.backbone import detach, last_outputs, reset_rows

ROOT = Path(__file__).parents[2]
PRINTED = Path("leaky.yaml")  # in docs/design.md
CONFIGS = [*sorted((ROOT / "conf" / "backbone").glob("*.yaml")), PRINTED]
BATCH, STEPS, FEATURES = 4, 7, 3
LENGTHS = torch.tensor([7, 1, 4, 6])
NEAR = {"rtol": 1e-9, "atol": 1e-11}  # of two float64 computations of one thing


@cache
def printed():
    """The code and the config of the backbone in the document."""
    text = (ROOT / "docs" / "design.md").read_text()
    code, config = re.search(
        r"```python\n(# src/cellstate/backbone/.*?)```\n+```yaml\n(.*?)```", text, re.DOTALL
    ).groups()
    module = ModuleType("printed_backbone")
    exec(code, vars(module))
    return module, config


def written(path):
    return printed()[1] if path is PRINTED else path.read_text(encoding="utf-8")


def resolve(path):
    """The class that a config names, and the arguments that it gives it."""
    config = OmegaConf.to_container(OmegaConf.create(written(path)))
    module, name = config.pop("_target_").rsplit(".", 1)
    return getattr(printed()[0] if path is PRINTED else importlib.import_module(module), name), config


def variants(directions=(False, True)):
    """Every backbone, with one layer and with two, reading in one direction and, if it can, in both."""
    return [
        pytest.param((path, layers, bidirectional), id=f"{path.stem}-{layers}-{'both' if bidirectional else 'forward'}")
        for path, layers, bidirectional in product(CONFIGS, (1, 2), directions)
        if not bidirectional or "bidirectional" in resolve(path)[1]
    ]


def build(variant, seed=0):
    """A small backbone in float64, drawn from the seed."""
    path, layers, bidirectional = variant
    target, arguments = resolve(path)
    small = {"hidden_size": 8, "num_layers": layers, "bidirectional": bidirectional}
    arguments |= {key: value for key, value in small.items() if key in arguments}
    torch.manual_seed(seed)
    return target(input_size=FEATURES, **arguments).double()


@pytest.fixture(params=variants())
def backbone(request):
    return build(request.param)


@pytest.fixture(params=variants(directions=(False,)))
def causal(request):
    return build(request.param)


@pytest.fixture(params=variants(directions=(True,)))
def bidirectional(request):
    return build(request.param)


@pytest.fixture
def inputs():
    return torch.randn(BATCH, STEPS, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def used_state(backbone, inputs):
    """A state that is not zero."""
    return detach(backbone(inputs)[1])


def assert_same_state(state, expected):
    assert len(state) == len(expected)
    for tensor, other in zip(state, expected, strict=True):
        torch.testing.assert_close(tensor, other, **NEAR)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestConfig:
    def test_config_explains_itself_in_its_first_line_and_at_each_key(self, path):
        first, target, *keys = written(path).splitlines()
        assert first.startswith("# ")
        assert target.startswith("_target_: ")
        assert all(" # " in line for line in keys)

    def test_config_shows_every_argument_with_its_default(self, path):
        target, arguments = resolve(path)
        parameters = dict(inspect.signature(target).parameters)
        assert parameters.pop("input_size").default is inspect.Parameter.empty  # the model fills it in
        assert arguments == {name: parameter.default for name, parameter in parameters.items()}


class TestShapes:
    def test_outputs_and_state_have_the_sizes_that_the_backbone_states(self, backbone, inputs):
        outputs, state = backbone(inputs)
        assert backbone.input_size == FEATURES
        assert outputs.shape == (BATCH, STEPS, backbone.output_size)
        assert [tensor.shape for tensor in state] == [tensor.shape for tensor in backbone.initial_state(BATCH)]
        assert all(tensor.shape[1] == BATCH for tensor in state)
        assert sum(tensor.numel() for tensor in state) == BATCH * backbone.state_size

    def test_initial_state_is_zeros_of_the_parameters_dtype(self, backbone):
        for tensor in backbone.initial_state(BATCH):
            assert tensor.dtype == torch.float64
            assert not tensor.any()
        assert all(tensor.dtype == torch.float32 for tensor in backbone.float().initial_state(BATCH))

    def test_no_state_means_the_initial_state(self, backbone, inputs):
        outputs, state = backbone(inputs)
        expected, expected_state = backbone(inputs, backbone.initial_state(BATCH))
        torch.testing.assert_close(outputs, expected, **NEAR)
        assert_same_state(state, expected_state)


class TestParts:
    def test_single_steps_agree_with_the_full_pass(self, causal, inputs):
        start = used_state(causal, inputs)
        expected, expected_state = causal(inputs, start)
        state, outputs = start, []
        for step in range(STEPS):
            output, state = causal.step(inputs[:, step], state)
            assert output.shape == (BATCH, causal.output_size)
            outputs.append(output)
        torch.testing.assert_close(torch.stack(outputs, dim=1), expected, **NEAR)
        assert_same_state(state, expected_state)

    def test_chunks_agree_with_the_full_pass(self, causal, inputs):
        expected, expected_state = causal(inputs)
        first, state = causal(inputs[:, :3])
        second, state = causal(inputs[:, 3:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), expected, **NEAR)
        assert_same_state(state, expected_state)

    def test_outputs_do_not_depend_on_later_inputs(self, causal, inputs):
        changed = torch.cat([inputs[:, :4], inputs[:, 4:] + 1], dim=1)
        torch.testing.assert_close(causal(changed)[0][:, :4], causal(inputs)[0][:, :4], **NEAR)

    def test_bidirectional_backbone_refuses_to_step_and_says_what_to_do(self, bidirectional, inputs):
        with pytest.raises(NotImplementedError, match=r"backbone\.bidirectional=false"):
            bidirectional.step(inputs[:, 0], bidirectional.initial_state(BATCH))


class TestPadding:
    def loss_and_gradients(self, backbone, runs, start):
        """Run, then differentiate a loss of all outputs and states; return gradients of parameters and start state."""
        backbone.zero_grad()
        start = tuple(tensor.clone().requires_grad_() for tensor in start)
        loss = torch.zeros((), dtype=torch.float64)
        for rows, inputs, lengths in runs:
            outputs, state = backbone(inputs, tuple(tensor[:, rows] for tensor in start), lengths)
            loss = loss + outputs.sin().sum() + sum(tensor.square().sum() for tensor in state)
        loss.backward()
        return loss, [parameter.grad for parameter in backbone.parameters()], [tensor.grad for tensor in start]

    def test_each_row_is_what_it_is_alone(self, backbone, inputs):
        start = used_state(backbone, inputs)
        outputs, state = backbone(inputs, start, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            one = slice(row, row + 1)
            expected, expected_state = backbone(inputs[one, :length], tuple(tensor[:, one] for tensor in start))
            torch.testing.assert_close(outputs[one, :length], expected, **NEAR)
            assert not outputs[row, length:].any()
            assert_same_state(tuple(tensor[:, one] for tensor in state), expected_state)

    def test_gradients_are_those_of_the_rows_alone(self, backbone, inputs):
        start = used_state(backbone, inputs)
        padded, alone = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
        single = [
            (slice(row, row + 1), alone[row : row + 1, :length], None) for row, length in enumerate(LENGTHS.tolist())
        ]
        loss, *gradients = self.loss_and_gradients(backbone, [(slice(None), padded, LENGTHS)], start)
        expected_loss, *expected = self.loss_and_gradients(backbone, single, start)
        torch.testing.assert_close(loss, expected_loss, **NEAR)
        torch.testing.assert_close(gradients, expected, **NEAR)
        torch.testing.assert_close(padded.grad, alone.grad, **NEAR)
        mask = torch.arange(STEPS) >= LENGTHS[:, None]
        assert not padded.grad[mask].any()
        assert padded.grad[~mask].any(dim=-1).all()

    @pytest.mark.parametrize("content", [1e30, float("inf"), float("nan")])
    def test_what_the_padding_holds_changes_nothing(self, backbone, inputs, content):
        mask = torch.arange(STEPS) >= LENGTHS[:, None]
        results = []
        for value in (0.0, content):
            filled = inputs.masked_fill(mask.unsqueeze(-1), value).requires_grad_()
            outputs, state = backbone(filled, None, LENGTHS)
            backbone.zero_grad()
            (outputs.sum() + sum(tensor.sum() for tensor in state)).backward()
            gradients = [parameter.grad.clone() for parameter in backbone.parameters()]
            results.append([outputs, *state, filled.grad, *gradients])
        torch.testing.assert_close(*results, rtol=0, atol=0)

    def test_more_padding_changes_nothing(self, backbone, inputs):
        outputs, state = backbone(inputs, None, LENGTHS)
        longer = torch.cat([inputs, torch.ones(BATCH, 5, FEATURES, dtype=torch.float64)], dim=1)
        padded, padded_state = backbone(longer, None, LENGTHS)
        torch.testing.assert_close(padded[:, :STEPS], outputs, **NEAR)
        assert not padded[:, STEPS:].any()
        assert_same_state(padded_state, state)

    @pytest.mark.parametrize("length", [1, 4, STEPS])
    def test_equal_lengths_are_a_shorter_batch(self, backbone, inputs, length):
        outputs, state = backbone(inputs, None, torch.full((BATCH,), length))
        expected, expected_state = backbone(inputs[:, :length])
        torch.testing.assert_close(outputs[:, :length], expected, **NEAR)
        assert outputs.shape[1] == STEPS
        assert not outputs[:, length:].any()
        assert_same_state(state, expected_state)

    @pytest.mark.parametrize("wrong", [0, -1, STEPS + 1])
    def test_impossible_length_is_named(self, backbone, inputs, wrong):
        with pytest.raises(ValueError, match=rf"lengths must be between 1 and {STEPS}.* {wrong}$"):
            backbone(inputs, None, torch.tensor([STEPS, wrong, 2, 2]))


class TestMisfit:
    @pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((BATCH, STEPS, FEATURES + 2), "inputs must have 3 features per step for this network, not 5"),
            ((BATCH, STEPS, 1), "inputs must have 3 features per step for this network, not 1"),
            ((BATCH, 0, FEATURES), r"inputs must have at least one step, not \(4, 0, 3\)"),
            ((STEPS, FEATURES), r"inputs must be \(B, T, F\): sequences, steps and features, not \(7, 3\)"),
        ],
    )
    def test_inputs_that_do_not_fit_are_refused_in_the_same_words_by_all(self, backbone, shape, words, lengths):
        with pytest.raises(ValueError, match=f"^{words}$"):
            backbone(torch.zeros(shape, dtype=torch.float64), None, lengths)


class TestState:
    def test_reset_rows_start_anew_and_the_others_go_on(self, backbone, inputs):
        reset = torch.tensor([True, False, True, False])
        used = used_state(backbone, inputs)
        outputs, _ = backbone(inputs, reset_rows(used, reset))
        torch.testing.assert_close(outputs[reset], backbone(inputs)[0][reset], **NEAR)
        torch.testing.assert_close(outputs[~reset], backbone(inputs, used)[0][~reset], **NEAR)
        assert not torch.allclose(outputs[~reset], backbone(inputs)[0][~reset])

    def test_gradients_pass_reset_rows_but_not_through_the_reset(self, backbone, inputs):
        reset = torch.tensor([True, False, True, False])
        earlier = inputs.clone().requires_grad_()
        _, state = backbone(earlier)
        before = [tensor.clone() for tensor in state]
        backbone(inputs, reset_rows(state, reset))[0].sum().backward()
        assert not earlier.grad[reset].any()
        assert earlier.grad[~reset].any(dim=-1).any(dim=-1).all()
        torch.testing.assert_close(list(state), before, rtol=0, atol=0)

    def test_detached_state_has_the_values_and_no_history(self, backbone, inputs):
        state = backbone(inputs)[1]
        assert all(tensor.requires_grad for tensor in state)
        assert not any(tensor.requires_grad for tensor in detach(state))
        assert_same_state(detach(state), state)

    def test_last_outputs_are_those_of_the_last_valid_step(self, backbone, inputs):
        outputs, _ = backbone(inputs, None, LENGTHS)
        expected = torch.stack([outputs[row, length - 1] for row, length in enumerate(LENGTHS.tolist())])
        assert torch.equal(last_outputs(outputs, LENGTHS), expected)
        assert torch.equal(last_outputs(outputs), outputs[:, -1])


class TestParameters:
    @pytest.mark.parametrize("variant", variants())
    def test_seed_decides_the_parameters(self, variant):
        first, again, other = ([*build(variant, seed).parameters()] for seed in (0, 0, 1))
        assert all(map(torch.equal, first, again))
        assert not all(map(torch.equal, first, other))

    def test_every_parameter_and_input_gets_a_gradient(self, backbone, inputs):
        inputs.requires_grad_()
        outputs, _ = backbone(inputs)
        outputs.square().sum().backward()
        for name, parameter in [*backbone.named_parameters(), ("inputs", inputs)]:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    @pytest.mark.parametrize("variant", variants())
    def test_state_dict_carries_the_whole_network(self, variant, inputs):
        first, other = build(variant, seed=0), build(variant, seed=1)
        assert not torch.equal(first(inputs)[0], other(inputs)[0])
        other.load_state_dict(first.state_dict())
        assert torch.equal(first(inputs)[0], other(inputs)[0])


def test_there_are_backbones_to_test():
    assert {path.stem for path in CONFIGS} >= {"rnn", "lstm", "gru"}
