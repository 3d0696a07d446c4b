"""Scores of tokens and of n-gram models, held against a slow dictionary and against information theory."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from cellstate.metrics import ngrams
from cellstate.metrics.ngrams import Ngrams, contexts_of
from cellstate.metrics.tokens import IGNORED, TokenScores, ngram_scores, token_scores

# ---------------------------------------------------------------------- a network's tokens


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 11, 7, generator=generator)
    targets = torch.randint(7, (5, 11), generator=generator)
    targets[torch.rand(5, 11, generator=generator) < 0.3] = IGNORED
    return logits, targets


def test_the_loss_is_the_mean_over_the_targets_that_count():
    logits, targets = drawn()
    losses, hits = [], []
    for row in range(5):
        for step in range(11):
            target = int(targets[row, step])
            if target == IGNORED:
                continue
            weights = [math.exp(value) for value in logits[row, step].tolist()]
            losses.append(-math.log(weights[target] / sum(weights)))
            hits.append(weights[target] == max(weights))
    scores = TokenScores(torch.device("cpu"))
    scores.update(logits, targets)
    found = scores.compute()
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("sizes", [(11,), (1,) * 11, (10, 1), (4, 4, 3)])
def test_means_are_over_tokens_whatever_the_batches(sizes):
    logits, targets = drawn()
    targets[:, 3:] = torch.where(targets[:, 3:] % 2 == 0, IGNORED, targets[:, 3:])  # unequal numbers in each part
    whole, parts = TokenScores(torch.device("cpu")), TokenScores(torch.device("cpu"))
    whole.update(logits, targets)
    for part, goal in zip(logits.split(sizes, 1), targets.split(sizes, 1), strict=True):
        parts.update(part, goal)
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_many_tokens_are_summed_without_loss_of_precision():
    scores = TokenScores(torch.device("cpu"))
    logits, targets = torch.zeros(100, 1000, 3), torch.zeros(100, 1000, dtype=torch.long)
    for _ in range(20):
        scores.update(logits, targets)
    assert scores.compute()["loss"] == pytest.approx(math.log(3), rel=1e-7)


def test_bits_and_perplexity_are_views_of_the_loss():
    scores = token_scores(2 * math.log(2), 0.25)
    assert scores["bpc"] == pytest.approx(2)
    assert scores["perplexity"] == pytest.approx(4)
    assert token_scores(1e4, 0)["perplexity"] == math.inf


# ---------------------------------------------------------------------- n-grams


class SlowWittenBell:
    """The same model as one would write it first: dictionaries and recursion."""

    def __init__(self, train, symbols, longest):
        self.symbols, self.longest = symbols, longest
        self.followers = defaultdict(Counter)
        for size in range(longest + 1):
            for at in range(size, len(train)):
                self.followers[tuple(train[at - size : at])][train[at]] += 1

    def probability(self, symbol, context):
        shorter = self.probability(symbol, context[1:]) if context else 1 / self.symbols
        counts = self.followers.get(tuple(context))
        if not counts:
            return shorter
        return (counts[symbol] + len(counts) * shorter) / (counts.total() + len(counts))

    def distribution(self, context):
        return [self.probability(symbol, context) for symbol in range(self.symbols)]


def text(count, symbols, seed=0):
    """A text with habits: the next symbol depends on the two before it."""
    generator = np.random.default_rng(seed)
    habits = generator.dirichlet(np.full(symbols, 0.3), size=(symbols, symbols)).cumsum(axis=-1)
    tokens = [0, 1]
    for chance in generator.random(count - 2):
        tokens.append(int(min(np.searchsorted(habits[tokens[-2], tokens[-1]], chance), symbols - 1)))
    return np.array(tokens, dtype=np.int32)


@pytest.mark.parametrize("countable", [2**24, 0])  # counted in an array, or by sorting
@pytest.mark.parametrize(("symbols", "spare"), [(5, 0), (5, 2), (2, 1), (12, 3)])
def test_ngrams_score_as_a_slow_dictionary_does(symbols, spare, countable, monkeypatch):
    monkeypatch.setattr(ngrams, "COUNTABLE", countable)
    train, held_out = text(400, symbols), text(150, symbols + spare, seed=1)  # symbols that training lacks
    alphabet = symbols + spare
    found = ngram_scores(train, held_out, alphabet)
    for longest, name in enumerate(("unigram", "bigram", "trigram")):
        slow = SlowWittenBell(train.tolist(), alphabet, longest)
        losses, hits = [], []
        for at in range(1, len(held_out)):
            context = held_out[max(0, at - longest) : at].tolist()
            chances = slow.distribution(context)
            assert sum(chances) == pytest.approx(1)
            losses.append(-math.log(chances[held_out[at]]))
            best = max(chances)
            hits.append(held_out[at] == min(s for s, chance in enumerate(chances) if chance > best - 1e-12))
        assert found["loss"][name] == pytest.approx(np.mean(losses), rel=1e-9)
        assert found["accuracy"][name] == pytest.approx(np.mean(hits), abs=1e-9)
        assert found["bpc"][name] == pytest.approx(np.mean(losses) / math.log(2))


@pytest.mark.parametrize("longest", [0, 1, 2, 3])
def test_probabilities_of_all_symbols_sum_to_one(longest):
    model = Ngrams(text(300, 6), 8, longest)
    contexts, sizes = contexts_of(text(200, 8, seed=2).astype(np.int64), longest, 8)
    total = sum(model.probabilities(contexts, sizes, np.full(200, symbol)) for symbol in range(8))
    np.testing.assert_allclose(total, 1)
    least = min(model.probabilities(contexts, sizes, np.full(200, symbol)).min() for symbol in range(8))
    assert least > 0


def test_a_case_worked_out_by_hand():
    # a a b: the unigram counts are 2, 1 with 2 kinds, the bigram after a: a once, b once.
    model = Ngrams(np.array([0, 0, 1]), 2, 1)
    empty, after_a = (np.array([0]), np.array([0])), (np.array([0]), np.array([1]))
    a = np.array([0])
    assert model.probabilities(*empty, a)[0] == pytest.approx((2 + 2 * 0.5) / (3 + 2))
    assert model.probabilities(*after_a, a)[0] == pytest.approx((1 + 2 * 0.6) / (2 + 2))


def test_uniform_guessing_costs_the_logarithm_of_the_alphabet():
    scores = ngram_scores(text(100, 4), text(50, 4), 4)
    assert scores["loss"]["uniform"] == pytest.approx(math.log(4))
    assert scores["bpc"]["uniform"] == pytest.approx(2)
    assert scores["perplexity"]["uniform"] == pytest.approx(4)
    assert scores["accuracy"]["uniform"] == pytest.approx(1 / 4)


def test_the_bigram_model_approaches_the_entropy_of_a_bigram_source():
    generator = np.random.default_rng(3)
    symbols, count = 4, 60_000
    transition = generator.dirichlet(np.ones(symbols), size=symbols)
    chances, cumulated = generator.random(2 * count), transition.cumsum(axis=1)
    tokens = [0]
    for chance in chances:
        tokens.append(int(min(np.searchsorted(cumulated[tokens[-1]], chance), symbols - 1)))
    stationary = np.linalg.matrix_power(transition, 200)[0]
    entropy = -(stationary[:, None] * transition * np.log(transition)).sum()
    unigram_entropy = -(stationary * np.log(stationary)).sum()
    loss = ngram_scores(np.array(tokens[:count]), np.array(tokens[count:]), symbols)["loss"]
    # The sample mean of -log p has a standard deviation below 0.01 here.
    assert loss["bigram"] == pytest.approx(entropy, abs=0.02)
    assert loss["unigram"] == pytest.approx(unigram_entropy, abs=0.02)
    assert loss["trigram"] == pytest.approx(entropy, abs=0.02)
    assert loss["bigram"] < loss["unigram"] - 0.05


def test_an_alphabet_as_large_as_chinese_costs_no_table_of_its_square():
    # Dense trigram counts of 20,000 symbols would take 60 TB, those of the 5,000 contexts below 800 MB.
    generator = np.random.default_rng(0)
    tokens = generator.integers(20_000, size=5_000)
    scores = ngram_scores(tokens, tokens[:500], 20_000)
    assert all(math.isfinite(value) for value in scores["loss"].values())
    largest = Ngrams(tokens, 20_000, 2)
    assert all(len(table.pairs) <= 5_000 for table in largest.tables)


def test_scores_do_not_depend_on_the_integer_type_of_the_tokens():
    train, held_out = text(300, 5), text(100, 5, seed=1)
    assert ngram_scores(train, held_out, 5) == ngram_scores(train.astype(np.int64), held_out.astype(np.int64), 5)
