"""The copy task, held against its definition in a loop, closed forms and the scores of predictors written down."""

import math

import numpy as np
import pytest
import torch

from cellstate.data.synthetic.copy_memory import VOCABULARY, CopyMemoryData, copy_sequences, owners
from cellstate.data.synthetic.generated import SPLITS
from cellstate.errors import RequestError
from cellstate.metrics.tokens import TokenScores

SIGMAS = 5.0  # a true claim fails with probability 6e-7


def sequences(indices, *, seed=0, split="train", **options):
    return copy_sequences(indices, seed=seed, split=split, **options)


@pytest.fixture(scope="module")
def standard():
    return CopyMemoryData(train_size=1000, val_size=200, test_size=400)


def score(data, logits):
    scores = TokenScores(torch.device("cpu"), data.spec.answer)
    scores.update(logits, data.samples("test").targets)
    return scores.compute()


@pytest.mark.parametrize("delay", [1, 2, 30])
def test_a_sequence_reads_as_the_task_says(delay):
    inputs, targets = sequences(range(100), delay=delay)
    for given, asked in zip(inputs, targets, strict=True):
        read, answer = ("".join(VOCABULARY[code] for code in row) for row in (given, asked))
        symbols = read[:10]
        assert set(symbols) <= set("abcdefgh")
        assert read == symbols + "_" * (delay - 1) + ":" + "_" * 10
        assert answer == "_" * (delay + 10) + symbols
        assert len(read) == len(answer) == delay + 20


def test_every_symbol_is_uniform_at_every_place():
    count = 40_000
    inputs, _ = sequences(range(count))
    shares = np.stack([(inputs[:, :10] == symbol).mean(axis=0) for symbol in range(8)])
    assert abs(shares - 1 / 8).max() < SIGMAS * math.sqrt(7 / 64 / count)


def test_no_symbol_tells_another():
    count = 40_000
    inputs, _ = sequences(range(count))
    for first in range(10):
        for second in range(first):
            pairs = np.bincount(inputs[:, first] * 8 + inputs[:, second], minlength=64) / count
            assert abs(pairs - 1 / 64).max() < SIGMAS * math.sqrt(63 / 64**2 / count)


def test_no_ten_symbols_are_in_two_splits():
    drawn = {split: sequences(range(30_000), split=split)[0][:, :10] for split in SPLITS}
    for number, (split, symbols) in enumerate(drawn.items()):
        assert (owners(symbols, seed=0) == number).all(), split
    kept = [set(map(bytes, symbols)) for symbols in drawn.values()]
    assert not kept[0] & kept[1]
    assert not kept[0] & kept[2]
    assert not kept[1] & kept[2]


def test_half_of_all_symbols_belong_to_training_and_a_quarter_to_each_other_split():
    count = 40_000
    symbols = np.random.default_rng(0).integers(0, 8, (count, 10), np.uint8)
    shares = np.bincount(owners(symbols, seed=3), minlength=3) / count
    assert abs(shares - [0.5, 0.25, 0.25]).max() < SIGMAS * math.sqrt(0.25 / count)
    assert (owners(symbols, seed=3) != owners(symbols, seed=4)).any()


def test_memoryless_is_what_a_predictor_of_the_time_alone_scores(standard):
    """Uniform over the eight symbols at the last ten steps, sure of the blank before."""
    logits = torch.full((400, 50, 10), -50.0)
    logits[:, :40, VOCABULARY.index("_")] = 50.0
    logits[:, 40:, :8] = 0.0
    table, scores = standard.reference_table(), score(standard, logits)
    for metric in ("loss", "bpc", "perplexity"):
        assert table[metric]["memoryless"] == pytest.approx(scores[metric], rel=1e-6)
    assert table["loss"]["memoryless"] == pytest.approx(10 * math.log(8) / 50)
    # Which of eight equal symbols is guessed is the first: a Bernoulli draw of 1/8 for each of 4000 targets.
    spread = SIGMAS * math.sqrt(7 / 64 / 4000)
    assert abs(scores["recall_accuracy"] - table["recall_accuracy"]["memoryless"]) < spread
    assert abs(scores["accuracy"] - table["accuracy"]["memoryless"]) < spread * 10 / 50


def test_no_predictor_of_the_time_alone_expects_less():
    """Each step's best distribution is the targets' own: the entropy of ten uniform symbols and of certain blanks."""
    _, targets = sequences(range(40_000), delay=5)
    entropy = 0.0
    for column in targets.T:
        shares = np.bincount(column, minlength=10) / len(column)
        entropy -= sum(share * math.log(share) for share in shares if share > 0) / targets.shape[1]
    memoryless = CopyMemoryData(delay=5).references()["loss"]["memoryless"]
    assert entropy == pytest.approx(memoryless, rel=1e-3)


def test_a_perfect_memory_scores_the_optimum(standard):
    targets = standard.samples("test").targets
    scores = score(standard, 100.0 * torch.nn.functional.one_hot(targets, 10).float())
    assert scores == {metric: pytest.approx(value, abs=1e-9) for metric, value in standard.optimum().items()}


def test_recall_counts_the_last_ten_alone(standard):
    targets = standard.samples("test").targets
    logits = torch.zeros(400, 50, 10)  # wrong everywhere but on an "a"
    logits[:, 47:] = torch.nn.functional.one_hot(targets, 10).float()[:, 47:]
    right = (targets[:, 40:47] == 0).sum().item() + 3 * 400
    assert score(standard, logits)["recall_accuracy"] == pytest.approx(right / 4000, rel=1e-12)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    inputs, targets = sequences(range(200))
    order = np.random.default_rng(0).permutation(200)
    for mine, whole in zip(sequences(order), (inputs, targets), strict=True):
        np.testing.assert_array_equal(mine, whole[order])
    np.testing.assert_array_equal(sequences([63])[0][0], inputs[63])


def test_a_longer_delay_asks_for_the_same_symbols():
    np.testing.assert_array_equal(sequences(range(50), delay=9)[0][:, :10], sequences(range(50), delay=90)[0][:, :10])


def test_the_data_is_a_function_of_its_parameters_alone(standard):
    def fingerprint(**options):
        return CopyMemoryData(train_size=100, val_size=64, test_size=64, **options).fingerprint

    base = fingerprint()
    assert fingerprint(batch_size=7) == base
    assert len({base, fingerprint(seed=1), fingerprint(delay=31)}) == 3
    assert standard.spec.vocabulary == VOCABULARY


def test_a_delay_without_a_step_for_the_delimiter_is_refused():
    with pytest.raises(RequestError) as caught:
        sequences([0], split="trian", delay=0)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0] == ("data.delay=0 leaves no step for the delimiter: set data.delay to 1 or more")
    assert "did you mean 'train'" in caught.value.problems[1]
