"""What can be learnt of one batch, against what theory and a network without limits say."""

import math

import pytest
import torch

from cellstate.data.batch import Batch
from cellstate.debug.batch_bounds import bounds_of
from cellstate.metrics.tokens import IGNORED


def test_distinct_sequences_can_be_known_by_heart():
    inputs, targets = torch.randn(8, 5, 2), torch.tensor([0, 1, 1, 1, 0, 1, 1, 1])
    bounds = bounds_of(Batch(inputs, targets))
    assert bounds.possible == 0
    assert bounds.constant == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))


def test_equal_sequences_of_two_classes_leave_their_entropy():
    inputs = torch.zeros(4, 3, 1)
    inputs[3] = 1
    bounds = bounds_of(Batch(inputs, torch.tensor([0, 0, 1, 2])))
    assert bounds.possible == pytest.approx(3 / 4 * -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3)))


def test_what_lies_in_the_padding_tells_no_sequences_apart():
    inputs = torch.tensor([[[1.0], [2.0]], [[1.0], [3.0]]])
    targets = torch.tensor([0, 1])
    assert bounds_of(Batch(inputs, targets)).possible == 0
    assert bounds_of(Batch(inputs, targets, torch.tensor([1, 1]))).possible == pytest.approx(math.log(2))
    assert bounds_of(Batch(inputs, targets, torch.tensor([1, 2]))).possible == 0, "their lengths do"


def test_a_token_may_depend_on_all_before_it_and_on_nothing_after():
    # Both begin with 1, after which 2 and 3 follow: a bit at the first step, and none at the second.
    inputs, targets = torch.tensor([[1, 2], [1, 3]]), torch.tensor([[2, 4], [3, 5]])
    bounds = bounds_of(Batch(inputs, targets))
    assert bounds.possible == pytest.approx(math.log(2) / 2)
    assert bounds.constant == pytest.approx(math.log(4))


def test_targets_that_do_not_count_are_left_out():
    inputs, targets = torch.tensor([[1, 2], [1, 3]]), torch.tensor([[IGNORED, 4], [IGNORED, 5]])
    bounds = bounds_of(Batch(inputs, targets))
    assert bounds.possible == 0
    assert bounds.constant == pytest.approx(math.log(2))


def test_states_of_several_features_differ_where_any_of_them_does():
    inputs = torch.tensor([[[1, 1]], [[1, 2]], [[1, 2]]])
    assert bounds_of(Batch(inputs, torch.tensor([[0], [1], [1]]))).possible == 0
    assert bounds_of(Batch(inputs, torch.tensor([[0], [1], [0]]))).possible == pytest.approx(2 / 3 * math.log(2))


def test_the_bounds_of_values_are_their_variances():
    inputs, targets = torch.randn(6, 4, 1), torch.randn(6, 3, 2, dtype=torch.float64)
    bounds = bounds_of(Batch(inputs, targets))
    assert bounds.possible == pytest.approx(0, abs=1e-15)
    assert bounds.constant == pytest.approx(targets.var(0, correction=0).mean().item())
    inputs[1] = inputs[0]
    halves = (targets[0] - targets[1]) / 2
    assert bounds_of(Batch(inputs, targets)).possible == pytest.approx((2 * halves**2).mean().item() / 6)


def test_no_function_of_the_beginnings_does_better_than_what_is_said_to_be_possible():
    """A table with a row of logits for each beginning, trained until it no longer improves."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 3, (16, 4), generator=generator)
    targets = torch.randint(0, 3, (16, 4), generator=generator)
    keys = [tuple(row[: step + 1]) for row in inputs.tolist() for step in range(4)]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    logits = torch.zeros(len(number), 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(2000):
        loss = torch.nn.functional.cross_entropy(logits[[number[key] for key in keys]], targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bounds_of(Batch(inputs, targets)).possible == pytest.approx(loss.item(), abs=1e-3)
