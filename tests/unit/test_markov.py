"""Random Markov chains, held against a chain by hand, all short sequences, Monte Carlo and counted frequencies."""

import itertools
import math

import numpy as np
import pytest

from cellstate.data.synthetic.chain import MarkovChain, gamma, random_transitions
from cellstate.data.synthetic.generated import SPLITS
from cellstate.data.synthetic.markov import MarkovData, markov_chain, markov_sequences
from cellstate.data.synthetic.randomness import CounterRandom
from cellstate.errors import RequestError

SIGMAS = 5.0  # a true claim fails with probability 6e-7


def sequences(indices, *, seed=0, split="train", **options):
    return markov_sequences(indices, seed=seed, split=split, **options)


def small(**options):
    return MarkovData(**{"train_size": 400, "val_size": 100, "test_size": 300, "length": 40, **options})


def shares_of_all(chain, length):
    """Every sequence and its probability, multiplied out step by step from the first context on."""
    found = {}
    for sequence in itertools.product(range(chain.states), repeat=length):
        share = chain.stationary[number(sequence[: chain.order], chain.states)]
        for place in range(chain.order, length):
            context = sequence[place - chain.order : place]
            share *= chain.transitions[number(context, chain.states), sequence[place]]
        found[sequence] = share
    return found


def number(context, states):
    return int("".join(map(str, context)) or "0", states)


def prefix_share(shares, prefix):
    return sum(share for sequence, share in shares.items() if sequence[: len(prefix)] == prefix)


@pytest.fixture(scope="module")
def standard():
    return small()


def test_a_chain_of_two_states_is_as_computed_by_hand():
    chain = MarkovChain(np.asarray([[0.9, 0.1], [0.4, 0.6]]))
    np.testing.assert_allclose(chain.stationary, [0.8, 0.2], rtol=1e-12)  # 0.8 * 0.1 = 0.2 * 0.4
    rate = -0.8 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1)) - 0.2 * (0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    assert chain.entropy(1) == pytest.approx(rate, rel=1e-12)
    assert chain.best_accuracy(1) == pytest.approx(0.8 * 0.9 + 0.2 * 0.6, rel=1e-12)
    optimum = chain.optimum(7)
    assert optimum["loss"] == pytest.approx(rate, rel=1e-12)
    assert optimum["bpc"] == pytest.approx(rate / math.log(2), rel=1e-12)
    assert optimum["perplexity"] == pytest.approx(math.exp(rate), rel=1e-12)


def test_before_its_second_state_a_chain_knows_the_stationary_distribution_alone():
    chain = MarkovChain(np.asarray([[0.9, 0.1], [0.4, 0.6]]))
    assert chain.entropy(0) == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2), rel=1e-12)
    assert chain.best_accuracy(0) == pytest.approx(0.8, rel=1e-12)


@pytest.mark.parametrize(("states", "order"), [(2, 0), (5, 1), (3, 3), (7, 2)])
def test_the_stationary_distribution_is_where_powers_of_the_chain_go(states, order):
    chain = markov_chain(seed=1, states=states, order=order, concentration=0.5)
    moves = np.zeros((chain.contexts, chain.contexts))
    for context in range(chain.contexts):
        for state in range(states):
            moves[context, (context * states + state) % chain.contexts] += chain.transitions[context, state]
    np.testing.assert_allclose(np.linalg.matrix_power(moves, 2**14)[0], chain.stationary, atol=1e-10)


@pytest.mark.parametrize(("states", "order", "length"), [(2, 1, 6), (3, 2, 5), (2, 3, 6), (3, 0, 4), (2, 4, 5)])
def test_the_optimum_is_that_of_all_short_sequences(states, order, length):
    """By brute force: p(next | prefix) are quotients of sums of the probabilities of whole sequences."""
    chain = markov_chain(seed=2, states=states, order=order, concentration=0.7)
    shares = shares_of_all(chain, length)
    assert sum(shares.values()) == pytest.approx(1, rel=1e-12)
    loss = accuracy = 0.0
    for place in range(1, length):
        for prefix in itertools.product(range(states), repeat=place):
            joint = [prefix_share(shares, (*prefix, state)) for state in range(states)]
            total = sum(joint)
            loss -= sum(share * math.log(share / total) for share in joint)
            accuracy += max(joint)
    optimum = chain.optimum(length)
    assert optimum["loss"] == pytest.approx(loss / (length - 1), rel=1e-10)
    assert optimum["accuracy"] == pytest.approx(accuracy / (length - 1), rel=1e-10)


def test_the_chances_of_drawn_states_are_those_of_all_short_sequences():
    chain = markov_chain(seed=3, states=3, order=2, concentration=0.7)
    shares = shares_of_all(chain, 5)
    drawn = np.asarray(list(itertools.product(range(3), repeat=5)))[::7]
    chances, hits = chain.predictions(drawn)
    for row, sequence in enumerate(map(tuple, drawn.tolist())):
        for place in range(1, 5):
            joint = [prefix_share(shares, (*sequence[:place], state)) for state in range(3)]
            share = joint[sequence[place]] / sum(joint)
            assert chances[row, place - 1] == pytest.approx(share, rel=1e-10)
            assert hits[row, place - 1] == (joint[sequence[place]] == max(joint))


@pytest.mark.parametrize(("states", "order", "length"), [(2, 0, 5), (3, 1, 4), (2, 3, 6)])
def test_the_chance_that_two_sequences_are_equal_is_the_sum_of_squares(states, order, length):
    chain = markov_chain(seed=4, states=states, order=order, concentration=1.0)
    squares = sum(share**2 for share in shares_of_all(chain, length).values())
    assert chain.equal_pairs(length) == pytest.approx(math.log(squares), rel=1e-10)


@pytest.mark.parametrize(("order", "states"), [(0, 5), (1, 6), (2, 4), (3, 2)])
def test_states_follow_a_context_as_often_as_the_chain_says(order, states):
    drawn = sequences(range(4000), order=order, states=states, length=30).astype(int)
    chain = markov_chain(seed=0, states=states, order=order)
    contexts = sum(
        drawn[:, order - back : drawn.shape[1] - back] * states ** (back - 1) for back in range(1, order + 1)
    ) + np.zeros_like(drawn[:, order:])
    counts = np.zeros((chain.contexts, states))
    np.add.at(counts, (contexts, drawn[:, order:]), 1)
    total = counts.sum(axis=1, keepdims=True)
    spread = np.sqrt(total * chain.transitions * (1 - chain.transitions))
    # Counts near 0 are Poisson: at most 25 above what is expected.
    assert (abs(counts - total * chain.transitions) <= SIGMAS * np.maximum(spread, SIGMAS)).all()
    assert counts.sum() == 4000 * (30 - order)


@pytest.mark.parametrize("place", [0, 17, 28])
def test_contexts_are_stationary_from_the_first_to_the_last(place):
    count = 20_000
    drawn = sequences(range(count), order=2, states=3, length=30).astype(int)
    chain = markov_chain(seed=0, states=3, order=2)
    found = np.bincount(drawn[:, place] * 3 + drawn[:, place + 1], minlength=9) / count
    spread = np.sqrt(chain.stationary * (1 - chain.stationary) / count)
    assert (abs(found - chain.stationary) < SIGMAS * np.maximum(spread, SIGMAS / count)).all()


@pytest.mark.parametrize("concentration", [0.05, 0.3, 1.0, 4.0])
def test_rows_are_of_the_symmetric_dirichlet_distribution(concentration):
    """Mean 1/n, variance (n - 1) / (n^2 (n a + 1)); the variance of squares is bounded by that of the extreme."""
    states, rows = 4, 4**6
    drawn = random_transitions(CounterRandom("test"), states, 6, concentration)
    assert drawn.shape == (rows, states)
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=1e-12)
    variance = (states - 1) / (states**2 * (states * concentration + 1))
    assert abs(drawn.mean(axis=0) - 1 / states).max() < SIGMAS * math.sqrt(variance / rows)
    squares = (drawn - 1 / states) ** 2
    assert abs(squares.mean(axis=0) - variance).max() < SIGMAS * squares.std() / math.sqrt(rows)


@pytest.mark.parametrize("shape", [1.0, 1.3, 7.0])
def test_gamma_variates_have_the_moments_of_their_distribution(shape):
    """Mean and variance are the shape, the third central moment is twice the shape."""
    count = 50_000
    drawn = gamma(CounterRandom("test"), np.arange(count), shape)
    for power, moment in ((2, shape), (3, 2 * shape)):
        powers = (drawn - shape) ** power
        assert abs(powers.mean() - moment) < SIGMAS * powers.std() / math.sqrt(count)
    assert abs(drawn.mean() - shape) < SIGMAS * math.sqrt(shape / count)


def test_of_one_exponential_variate_the_distribution_is_right_everywhere():
    """Kolmogorov & Smirnov: sqrt(N) sup |F_N - F| exceeds 2.5 with probability 2 exp(-12.5) = 7e-6."""
    count = 20_000
    drawn = np.sort(gamma(CounterRandom("test"), np.arange(count), 1.0))
    steps = np.arange(count + 1) / count
    cumulated = 1 - np.exp(-drawn)
    assert max(abs(cumulated - steps[:-1]).max(), abs(cumulated - steps[1:]).max()) * math.sqrt(count) < 2.5


def test_targets_are_the_next_states(standard):
    drawn = sequences(range(400), length=40)
    samples = standard.samples("train")
    np.testing.assert_array_equal(samples.inputs.numpy(), drawn[:, :-1])
    np.testing.assert_array_equal(samples.targets.numpy(), drawn[:, 1:])
    assert samples.lengths is None
    assert standard.spec.vocabulary == ("0", "1", "2", "3", "4", "5")


def test_what_the_test_sequences_allow_is_near_what_can_be_expected():
    data = small(test_size=4000)
    chances, hits = data.chain.predictions(sequences(range(4000), split="test", length=40).astype(int))
    table = data.reference_table()
    for metric, values in (("loss", -np.log(chances).mean(axis=1)), ("accuracy", hits.mean(axis=1))):
        optimum, realised = table[metric]["optimum"], table[metric]["optimum_realised"]
        assert realised == pytest.approx(values.mean(), rel=1e-12)
        assert abs(realised - optimum) < SIGMAS * values.std() / math.sqrt(4000)


def test_no_counted_chain_is_better_than_what_is_known_of_the_chain():
    data = small(train_size=4000, test_size=1000)
    loss = data.reference_table()["loss"]
    assert loss["optimum_realised"] < loss["chain_2"] < loss["optimum_realised"] + 0.01
    assert loss["chain_1"] > loss["chain_2"] + 0.1  # it does not know enough
    assert loss["chain_3"] > loss["chain_2"]  # it knows no more, and has less to count
    state_entropy = data.chain.entropy(0)
    assert loss["unigram"] == pytest.approx(state_entropy, abs=0.02)


def test_the_facts_tell_the_entropy_rate(standard):
    chain, fact = standard.chain, standard.prepared.facts[1]
    assert f"entropy rate {chain.entropy(2):.4f}" in fact
    assert f"{chain.optimum(40)['loss']:.4f}" in fact
    assert chain.optimum(40)["loss"] > chain.entropy(2)
    first_order = small(order=1)
    assert first_order.optimum()["loss"] == pytest.approx(first_order.chain.entropy(1), rel=1e-12)


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    drawn = sequences(range(10_000), length=12)
    order = np.random.default_rng(0).permutation(10_000)
    np.testing.assert_array_equal(sequences(order, length=12), drawn[order])
    np.testing.assert_array_equal(sequences([9_999], length=12)[0], drawn[9_999])


def test_splits_and_seeds_are_different_draws():
    draws = [sequences(range(64), split=split) for split in SPLITS]
    draws += [sequences(range(64), seed=1)]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_the_splits_are_of_one_chain_and_the_seed_draws_another():
    """Counted on another split than the scored one, a chain of the true order is nearly as good as the true one."""
    first, second = (markov_chain(seed=seed).transitions for seed in (0, 1))
    assert abs(first - second).max() > 0.1
    loss = small(train_size=2000, length=100).reference_table()["loss"]
    assert loss["chain_2"] < loss["optimum_realised"] + 0.01


def test_no_sequence_is_in_two_splits(standard):
    rows = [set(map(tuple, standard.samples(split).inputs.tolist())) for split in SPLITS]
    assert len(rows[0] | rows[1] | rows[2]) == sum(map(len, rows))


def test_short_sequences_are_said_to_overlap(standard):
    assert len(standard.prepared.facts) == 2
    facts = small(length=4, states=3).prepared.facts
    assert "may overlap" in facts[2]


def test_the_data_is_a_function_of_its_parameters_alone():
    base = small().fingerprint
    assert small(batch_size=7).fingerprint == base
    changes = [{"seed": 1}, {"length": 41}, {"states": 5}, {"order": 1}, {"concentration": 0.31}]
    assert len({base, *(small(**change).fingerprint for change in changes)}) == 6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"states": 1}, "data.states=1 leaves nothing to predict: set data.states to 2 or more"),
        ({"states": 5000, "order": 0}, "data.states=5000 is too many: set data.states to 4096 or less"),
        ({"states": 20, "order": 3}, "set data.order to 2 or less, or fewer data.states"),
        ({"length": 2}, "set data.length to 3 or more"),
        ({"length": 1, "order": 0}, "set data.length to 2 or more"),
        ({"concentration": 0.001}, "set data.concentration to 0.01 or more"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(options, told):
    with pytest.raises(RequestError) as caught:
        _ = MarkovData(**options).prepared
    (problem,) = caught.value.problems
    assert told in problem


def test_a_chain_may_have_4096_contexts_and_no_more():
    assert sequences(range(10), states=4096, order=0, length=10).max() < 4096
    assert sequences(range(10), states=10, order=3, length=10).max() < 10
    with pytest.raises(RequestError):
        sequences(range(10), states=65, order=2, length=10)
    with pytest.raises(RequestError):
        sequences(range(10), states=2, order=13, length=20)


def test_all_problems_of_a_request_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        sequences([0], split="trian", states=1, length=0, concentration=0.0)
    assert len(caught.value.problems) == 4
    assert "did you mean 'train'" in caught.value.problems[-1]
