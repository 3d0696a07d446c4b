"""Samples: a batch is one indexing operation, and a digest tells different data apart."""

import hashlib

import numpy as np
import pytest
import torch

from cellstate.data.batch import DataSpec
from cellstate.data.files.text import TextSamples
from cellstate.data.samples import TensorSamples, WindowSamples


def digest(samples):
    state = hashlib.sha256()
    samples.update_digest(state)
    return state.hexdigest()


def tensor_samples(count=7, lengths=None):
    inputs = torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(0))
    return TensorSamples(inputs, torch.arange(count), lengths)


def test_a_batch_holds_the_asked_rows_in_the_asked_order():
    samples = tensor_samples(lengths=torch.tensor([5, 4, 3, 2, 1, 5, 4]))
    batch = samples.batch(torch.tensor([6, 0, 6]))
    assert torch.equal(batch.inputs, torch.stack([samples.inputs[6], samples.inputs[0], samples.inputs[6]]))
    assert batch.targets.tolist() == [6, 0, 6]
    assert batch.lengths.tolist() == [4, 5, 4]
    assert batch.reset is None
    assert tensor_samples().batch(torch.tensor([1])).lengths is None


def test_windows_and_targets_are_the_rows_before_and_after_each_start():
    values = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([6, 7, 20, 35])
    samples = WindowSamples(values, starts, window=6, horizon=5)
    batch = samples.batch(torch.tensor([3, 0, 2]))
    for row, start in enumerate([35, 6, 20]):
        for step in range(6):
            assert torch.equal(batch.inputs[row, step], values[start - 6 + step])
        for step in range(5):
            assert torch.equal(batch.targets[row, step], values[start + step])
    assert len(samples) == 4


def test_a_text_sample_is_a_symbol_and_the_one_after_it():
    samples = TextSamples(torch.tensor([3, 1, 4, 1, 5], dtype=torch.int32))
    assert len(samples) == 4
    batch = samples.batch(torch.arange(4))
    assert batch.inputs.flatten().tolist() == [3, 1, 4, 1]
    assert batch.targets.flatten().tolist() == [1, 4, 1, 5]


def test_the_size_counts_all_tensors():
    lengths = torch.full((7,), 5)
    assert tensor_samples().nbytes() == 7 * 5 * 3 * 4 + 7 * 8
    assert tensor_samples(lengths=lengths).nbytes() == 7 * 5 * 3 * 4 + 7 * 8 + 7 * 8
    assert WindowSamples(torch.zeros(10, 2), torch.arange(3, 5), 3, 2).nbytes() == 10 * 2 * 4 + 2 * 8


@pytest.mark.parametrize(
    "samples",
    [
        tensor_samples(lengths=torch.tensor([5, 4, 3, 2, 1, 5, 4])),
        WindowSamples(torch.randn(30, 1), torch.arange(4, 25), 4, 3),
        TextSamples(torch.arange(9, dtype=torch.int32)),
    ],
)
def test_moving_samples_changes_nothing(samples):
    moved = samples.to(torch.device("cpu"))
    assert digest(moved) == digest(samples)
    for one, other in zip(moved.batch(torch.tensor([2, 0])), samples.batch(torch.tensor([2, 0])), strict=True):
        assert one is other is None or torch.equal(one, other)


def test_any_change_of_the_content_changes_the_digest():
    values, starts = torch.randn(30, 1), torch.arange(4, 25)
    base = digest(WindowSamples(values, starts, 4, 3))
    nudged = values.clone()
    nudged[17, 0] += 1e-6 + nudged[17, 0].abs() * 1e-6
    assert digest(WindowSamples(values.clone(), starts.clone(), 4, 3)) == base
    others = [
        WindowSamples(nudged, starts, 4, 3),
        WindowSamples(values, starts[:-1], 4, 3),
        WindowSamples(values, starts, 3, 3),
        WindowSamples(values, starts, 4, 2),
    ]
    assert len({base, *map(digest, others)}) == 5
    covariates = [torch.zeros(30, 1), torch.zeros(30, 1)]
    covariates[1][29] = 1e-6
    assert len({base, *(digest(WindowSamples(values, starts, 4, 3, part)) for part in covariates)}) == 3
    inputs, targets = torch.zeros(6, 2, 1), torch.zeros(6)
    kinds = [
        TensorSamples(inputs, targets),
        TensorSamples(inputs.view(3, 4, 1), targets),
        TensorSamples(inputs.double(), targets),
        TensorSamples(inputs, targets, torch.ones(6, dtype=torch.long)),
    ]
    assert len(set(map(digest, kinds))) == 4


def test_a_specification_survives_the_way_through_plain_values():
    spec = DataSpec(targets=("a", "b"), window=5, horizon=2, season=7, mean=(1.5, np.pi), std=(0.1, 1 / 3))
    assert DataSpec.from_dict(spec.as_dict()) == spec
    assert all(isinstance(value, (int, list)) for value in spec.as_dict().values())
    text = DataSpec(vocabulary=("\ufffd", "\n", "ß", "日"))
    assert DataSpec.from_dict(text.as_dict()) == text
