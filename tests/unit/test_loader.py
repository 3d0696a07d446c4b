"""Loaders: every sample once, an order that is a pure function of seed and epoch, positions, shards, streams."""

import itertools
import math
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.data.loader import BatchLoader, Shard, StreamLoader, epoch_seed
from cellstate.data.samples import TensorSamples
from cellstate.data.synthetic.pattern import PatternData
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model import Classifier

WORLDS = (1, 2, 3, 5)


class CountedSamples(TensorSamples):
    """Samples that write down with what they were asked for each batch."""

    def __init__(self, count):
        super().__init__(torch.arange(count).float().view(-1, 1, 1), torch.arange(count))
        self.asked = []

    def batch(self, indices):
        self.asked.append(indices)
        return super().batch(indices)


def batch_loader(count=53, batch_size=8, *, shuffle=True, seed=0, rank=0, world_size=1):
    return BatchLoader(CountedSamples(count), batch_size, shuffle=shuffle, seed=seed, shard=Shard(rank, world_size))


def stream_loader(count=401, streams=6, steps=7, *, jitter=False, seed=0, rank=0, world_size=1):
    # Every token is its own position, so that a batch says where it comes from.
    return StreamLoader(torch.arange(count), streams, steps, jitter=jitter, seed=seed, shard=Shard(rank, world_size))


def targets(batches):
    return [batch.targets.tolist() for batch in batches]


def epoch(loader):
    return targets(loader)


def counted_targets(loader):
    """All targets of one pass that count, as a flat sorted list."""
    joined = torch.cat([batch.targets.flatten() for batch in loader])
    return sorted(joined[joined != IGNORED].tolist())


# ---------------------------------------------------------------------- order


@pytest.mark.parametrize(("count", "batch_size"), [(53, 8), (64, 8), (1, 1), (5, 5), (9, 2), (7, 100)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_comes_once_an_epoch(count, batch_size, shuffle):
    loader = batch_loader(count, batch_size, shuffle=shuffle)
    for _ in range(3):
        batches = epoch(loader)
        assert sorted(itertools.chain(*batches)) == list(range(count))
        assert len(batches) == len(loader) == math.ceil(count / batch_size)
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_evaluation_is_in_the_order_of_the_samples():
    assert list(itertools.chain(*epoch(batch_loader(shuffle=False)))) == list(range(53))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    first, again = batch_loader(seed=3), batch_loader(seed=3)
    torch.manual_seed(99)  # no global chance enters
    orders = [epoch(first) for _ in range(4)]
    torch.manual_seed(5)
    assert [epoch(again) for _ in range(4)] == orders
    assert first.order(2).tolist() == list(itertools.chain(*orders[2]))
    assert len({str(order) for order in orders}) == 4
    assert epoch(batch_loader(seed=4)) != orders[0]
    # Neighbouring seeds and epochs are not shifts of each other, as seed + epoch would be.
    assert epoch(batch_loader(seed=4)) != orders[1]


def test_the_order_does_not_depend_on_the_batch_size():
    assert list(itertools.chain(*epoch(batch_loader(batch_size=8)))) == list(
        itertools.chain(*epoch(batch_loader(batch_size=5)))
    )


def test_seeds_of_epochs_fill_63_bits_without_collision():
    seeds = {epoch_seed(seed, number) for seed in range(40) for number in range(40)}
    assert len(seeds) == 1600
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_every_permutation_is_equally_likely():
    # 4! = 24 orders over 4800 epochs: chi-square with 23 degrees of freedom, mean 23, standard deviation 6.8.
    loader = batch_loader(4, 4)
    orders = [tuple(loader.order(number).tolist()) for number in range(4800)]
    counts = np.array([orders.count(order) for order in itertools.permutations(range(4))])
    assert ((counts - 200) ** 2 / 200).sum() < 23 + 5 * 6.8


def test_the_samples_are_asked_once_a_batch_with_a_tensor_of_indices():
    loader = batch_loader(53, 8)
    epoch(loader)
    assert len(loader.samples.asked) == 7
    assert all(isinstance(indices, torch.Tensor) and indices.ndim == 1 for indices in loader.samples.asked)
    assert [len(indices) for indices in loader.samples.asked] == [8] * 6 + [5]


# ---------------------------------------------------------------------- position

LOADERS = {
    "shuffled": lambda: batch_loader(53, 8, seed=1),
    "shuffled, a rank of two": lambda: batch_loader(53, 8, seed=1, rank=1, world_size=2),
    "in order": lambda: batch_loader(53, 8, shuffle=False),
    "streams": lambda: stream_loader(),
    "streams, jittered": lambda: stream_loader(jitter=True, seed=1),
    "streams, a rank of two": lambda: stream_loader(jitter=True, seed=1, rank=1, world_size=2),
}


def rows_of(batch):
    reset = None if batch.reset is None else batch.reset.tolist()
    return batch.inputs.tolist(), batch.targets.tolist(), reset


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_goes_on_from_any_position_with_the_very_batches_that_would_have_come(kind):
    make = LOADERS[kind]
    whole = make()
    epochs = [[rows_of(batch) for batch in whole] for _ in range(5)]
    size = len(epochs[0])
    for position in range(3 * size + 1):
        stopped = make()
        number, handed_out = divmod(position, size)
        if position and handed_out == 0:
            number, handed_out = number - 1, size  # stopped at the very end of an epoch
        for _ in range(number):
            list(stopped)
        if handed_out:
            batches = iter(stopped)
            for _ in range(handed_out):
                next(batches)
        resumed = make()
        resumed.load_state_dict(stopped.state_dict())
        rest = [rows_of(batch) for batch in resumed]
        if handed_out < size:
            assert rest == epochs[number][handed_out:], (number, handed_out)
        else:
            assert rest == epochs[number + 1]
            number += 1
        assert [rows_of(batch) for batch in resumed] == epochs[number + 1]  # and the epoch after that is whole


@pytest.mark.parametrize("kind", LOADERS)
def test_the_state_of_a_loader_that_has_not_begun_begins_with_the_first_epoch(kind):
    fresh, resumed = LOADERS[kind](), LOADERS[kind]()
    resumed.load_state_dict(fresh.state_dict())
    assert [rows_of(batch) for batch in resumed] == [rows_of(batch) for batch in fresh]
    assert [rows_of(batch) for batch in resumed] == [rows_of(batch) for batch in fresh]


def test_a_state_is_plain_numbers():
    loader = batch_loader()
    next(iter(loader))
    assert loader.state_dict() == {"epoch": 0, "position": 1}


def test_an_epoch_that_was_left_early_does_not_come_back():
    loader, reference = batch_loader(), batch_loader()
    orders = [epoch(reference) for _ in range(2)]
    batches = iter(loader)
    next(batches)
    assert epoch(loader) == orders[1]


@pytest.mark.parametrize("position", [0, 3, 7])
def test_nothing_moves_until_a_batch_is_handed_out(position):
    # On resume Lightning calls iter() once in the middle of an epoch and twice at its end.
    whole = batch_loader()
    orders = [epoch(whole) for _ in range(3)]
    stopped, resumed = batch_loader(), batch_loader()
    list(itertools.islice(stopped, position))
    resumed.load_state_dict(stopped.state_dict())
    for _ in range(3):
        iter(resumed)
    assert epoch(resumed) == (orders[0][position:] or orders[1])
    for _ in range(3):
        iter(resumed)
    assert epoch(resumed) == orders[1 if position < 7 else 2]


def test_an_epoch_that_a_limit_ends_is_over_for_the_one_that_resumes():
    orders = [epoch(loader) for loader in [batch_loader()] for _ in range(2)]
    for position in range(1, 4):
        stopped, resumed = batch_loader(), batch_loader()
        resumed.limit = 3
        list(itertools.islice(stopped, position))
        resumed.load_state_dict(stopped.state_dict())
        assert list(itertools.islice(targets(resumed), 3 - position or 3)) == (
            orders[0][position:3] if position < 3 else orders[1][:3]
        )


class Watched(L.Callback):
    """Writes down the batches that are trained on, and saves a checkpoint where it is told to."""

    def __init__(self, path, *, after_step=None, after_validation_in=None):
        self.path, self.after_step, self.after_validation_in = path, after_step, after_validation_in
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):  # noqa: ARG002
        self.seen.append(batch.inputs.flatten(1).tolist())
        if trainer.global_step == self.after_step:
            trainer.save_checkpoint(self.path)

    def on_validation_end(self, trainer, pl_module):  # noqa: ARG002
        if trainer.current_epoch == self.after_validation_in:
            trainer.save_checkpoint(self.path)


def trained(path, limit, resumes=False, **moment):
    watched = Watched(path, **moment)
    data = PatternData(train_size=150, val_size=32, test_size=32, batch_size=16)
    torch.manual_seed(0)
    model = Classifier(data.spec, partial(GRU, hidden_size=2), optimizer=partial(torch.optim.Adam, lr=0.01))
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        limit_train_batches=limit,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[watched],
    )
    trainer.fit(model, datamodule=data, ckpt_path=path if resumes else None, weights_only=False)
    return watched.seen, [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(("limit", "size"), [(1.0, 10), (3, 3), (0.5, 5)])
@pytest.mark.parametrize("moment", ["first step", "middle", "last step", "validation"])
def test_a_trainer_that_resumes_takes_the_very_batches_that_were_left(tmp_path, limit, size, moment):
    path = str(tmp_path / "stopped.ckpt")
    where, steps = {
        "first step": ({"after_step": 1}, 1),
        "middle": ({"after_step": size + 1}, size + 1),
        "last step": ({"after_step": size}, size),
        "validation": ({"after_validation_in": 1}, 2 * size),
    }[moment]
    seen, weights = trained(path, limit, **where)
    assert len(seen) == 3 * size
    rest, resumed_weights = trained(path, limit, resumes=True)
    assert rest == seen[steps:]
    assert all(torch.equal(one, other) for one, other in zip(weights, resumed_weights, strict=True))


# ---------------------------------------------------------------------- shards


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize(("count", "batch_size"), [(53, 8), (60, 10), (31, 5), (17, 16), (8, 7)])
def test_the_ranks_together_train_on_the_batches_of_a_single_process(world_size, count, batch_size):
    alone = batch_loader(count, batch_size, seed=2)
    ranks = [batch_loader(count, batch_size, seed=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(loader) for loader in ranks}) == 1
    for _ in range(2):
        parts = [epoch(loader) for loader in ranks]
        assert all(len(part) == len(ranks[0]) for part in parts)
        for number, batch in enumerate(epoch(alone)):
            if number >= len(ranks[0]):
                assert len(batch) < world_size  # there was not a row for each process
                continue
            rows = [part[number] for part in parts]
            assert min(map(len, rows)) >= 1
            assert max(map(len, rows)) - min(map(len, rows)) <= 1
            assert sorted(itertools.chain(*rows)) == sorted(batch)


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("batch_size", [1, 2, 7, 8, 64])
@pytest.mark.parametrize("count", [5, 7, 53, 60, 64])
def test_evaluation_parts_joined_in_order_of_rank_are_the_split(world_size, batch_size, count):
    parts = [
        epoch(batch_loader(count, batch_size, shuffle=False, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert list(itertools.chain(*itertools.chain(*parts))) == list(range(count))
    sizes = [sum(map(len, part)) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(set(map(len, parts))) == 1, "a process that had a batch less would keep the others waiting"
    assert all(1 <= len(batch) <= batch_size + (world_size > 1) for part in parts for batch in part)


def test_a_split_with_fewer_samples_than_processes_is_refused():
    with pytest.raises(RequestError, match="2 samples cannot be divided among 3 processes; use fewer devices"):
        batch_loader(2, 8, shuffle=False, rank=2, world_size=3)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_batch_with_fewer_rows_than_processes_is_refused(batch_size):
    with pytest.raises(RequestError, match=f"a batch of {batch_size} cannot be divided among 5 processes"):
        batch_loader(50, batch_size, rank=1, world_size=5)
    with pytest.raises(RequestError, match="processes"):
        stream_loader(streams=batch_size, world_size=5)
    with pytest.raises(RequestError, match="a batch of 3"):  # larger than the data, which are fewer than the processes
        batch_loader(3, 8, rank=1, world_size=5)


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("jitter", [True, False])
def test_the_streams_of_all_ranks_are_those_of_a_single_process(world_size, jitter):
    alone = stream_loader(jitter=jitter, seed=4)
    ranks = [stream_loader(jitter=jitter, seed=4, rank=rank, world_size=world_size) for rank in range(world_size)]
    for _ in range(2):
        parts = [list(loader) for loader in ranks]
        for number, batch in enumerate(alone):
            rows = sorted(itertools.chain(*(part[number].inputs.tolist() for part in parts)))
            assert rows == sorted(batch.inputs.tolist())
        assert all(len(part) == len(alone) for part in parts)


# ---------------------------------------------------------------------- streams

SHAPES = [(401, 6, 7), (400, 6, 7), (2, 1, 1), (13, 4, 3), (100, 1, 100), (65, 8, 8), (66, 8, 8), (10, 7, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("world_size", [1, 3])
def test_every_token_but_the_first_is_a_target_exactly_once(shape, world_size):
    if shape[1] < world_size:
        world_size = 1
    loaders = [stream_loader(*shape, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(itertools.chain(*map(counted_targets, loaders))) == list(range(1, shape[0]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("jitter", [True, False])
def test_the_target_of_a_token_is_the_one_after_it(shape, jitter):
    for batch in stream_loader(*shape, jitter=jitter):
        counts = batch.targets != IGNORED
        assert torch.equal(batch.targets[counts], batch.inputs[counts] + 1)
        assert batch.inputs.min() >= 0  # what is filled in is a token too, so that it can be embedded
        assert counts.any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("jitter", [True, False])
def test_a_row_goes_on_exactly_where_it_ended(shape, jitter):
    loader = stream_loader(*shape, jitter=jitter)
    for _ in range(3):
        for before, after in itertools.pairwise(list(loader)):
            counts = after.targets[:, 0] != IGNORED
            assert torch.equal(after.inputs[counts, 0], before.targets[counts, -1])


@pytest.mark.parametrize("jitter", [True, False])
def test_state_starts_anew_in_the_first_batch_of_an_epoch_alone(jitter):
    loader = stream_loader(jitter=jitter)
    for _ in range(2):
        for number, batch in enumerate(loader):
            assert batch.reset.dtype == torch.bool
            assert batch.reset.tolist() == [number == 0] * 6


@pytest.mark.parametrize("shape", [(401, 6, 7), (400, 3, 32), (99, 7, 7), (130, 8, 8), (1000, 4, 5), (300, 2, 74)])
def test_jitter_loses_fewer_tokens_than_steps_a_stream_and_repeats_none(shape):
    count, streams, steps = shape
    loader = stream_loader(*shape, jitter=True)
    width = math.ceil((count - 1) / streams)
    everything, seen, offsets, sizes = set(range(1, count)), set(), set(), set()
    for _ in range(20 * steps):  # the first token of a stream takes part in one epoch of `steps`
        batches = list(loader)
        sizes.add(len(batches))
        offsets.add(int(batches[0].inputs[0, 0]))
        joined = torch.cat([batch.targets for batch in batches], dim=1)
        found = [row[row != IGNORED].tolist() for row in joined]
        flat = list(itertools.chain(*found))
        assert len(flat) == len(set(flat))
        assert joined.shape[1] > width - steps  # fewer than ``steps`` lost in each stream
        assert everything.issuperset(flat)
        seen.update(flat)
    assert sizes == {len(loader)}
    assert seen == everything  # what one epoch leaves out another has
    assert offsets <= set(range(steps))
    assert len(offsets) > min(steps, 20) / 2


def test_jitter_leaves_a_text_alone_that_is_short():
    assert counted_targets(stream_loader(40, 4, 8, jitter=True)) == list(range(1, 40))


def test_batches_hold_whole_steps_except_the_last():
    widths = [batch.inputs.shape[1] for batch in stream_loader(401, 6, 7)]
    assert widths == [7] * 9 + [4]  # 400 targets in 6 streams: 67 a stream
