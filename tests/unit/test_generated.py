"""Training sequences that are drawn anew for every epoch, held against direct draws by index."""

import pytest
import torch

from cellstate.data import FirstParityData, PatternData

SIZES = {"train_size": 96, "val_size": 64, "test_size": 64, "batch_size": 16}


def rows(batches):
    """The set of sequences in some batches."""
    return {tuple(row.flatten().tolist()) for batch in batches for row in batch.inputs}


def epochs(data, count):
    loader = data.train_dataloader()
    return [list(loader) for _ in range(count)]


def test_a_fixed_training_split_is_the_same_in_every_epoch():
    first, second = epochs(FirstParityData(**SIZES), 2)
    assert rows(first) == rows(second)


@pytest.mark.parametrize("kind", [FirstParityData, PatternData])
def test_epoch_e_of_a_fresh_one_trains_on_the_indices_from_e_times_its_size_on(kind):
    data = kind(fresh=True, **SIZES)
    longer = kind(**{**SIZES, "train_size": 3 * 96}).samples("train").inputs
    for number, epoch in enumerate(epochs(data, 3)):
        direct = longer[number * 96 : (number + 1) * 96]
        assert rows(epoch) == {tuple(row.flatten().tolist()) for row in direct}


def test_no_fresh_sequence_is_one_of_validation_or_test():
    data = PatternData(fresh=True, **SIZES)
    held_out = {tuple(row.flatten().tolist()) for split in ("val", "test") for row in data.samples(split).inputs}
    assert not held_out & set().union(*map(rows, epochs(data, 5)))


def test_a_fresh_epoch_goes_on_in_the_middle_with_the_batches_that_would_have_come():
    whole = FirstParityData(fresh=True, **SIZES).train_dataloader()
    list(whole)
    expected = list(whole)
    halfway = FirstParityData(fresh=True, **SIZES).train_dataloader()
    list(halfway)
    started = iter(halfway)
    for _ in range(2):
        next(started)
    state = halfway.state_dict()
    resumed = FirstParityData(fresh=True, **SIZES).train_dataloader()
    resumed.load_state_dict(state)
    for mine, theirs in zip(list(resumed), expected[2:], strict=True):
        assert torch.equal(mine.inputs, theirs.inputs)
        assert torch.equal(mine.targets, theirs.targets)


def test_the_facts_say_that_training_sequences_are_new():
    assert "new training sequences in every epoch" in FirstParityData(fresh=True, **SIZES).prepared.facts[0]
