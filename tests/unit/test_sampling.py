"""Choosing tokens: frequencies follow the softmax, and what is cut off never comes."""

import numpy as np
import pytest
import torch

from cellstate.errors import RequestError
from cellstate.model.language.sampling import choose

LOGITS = torch.tensor([[1.0, -0.5, 2.0, 0.3, 0.0, -2.0]])
DRAWS = 20_000


def frequencies(**options):
    generator = torch.Generator().manual_seed(0)
    drawn = choose(LOGITS.expand(DRAWS, -1), generator, **options)
    return torch.bincount(drawn, minlength=6).numpy()


def softmax(logits, temperature=1.0):
    weights = np.exp(np.asarray(logits, dtype=np.float64) / temperature)
    return weights / weights.sum()


def assert_drawn_from(counts, shares):
    assert (counts[shares == 0] == 0).all()
    kept = shares > 0
    expected = DRAWS * shares[kept]
    degrees = kept.sum() - 1
    statistic = ((counts[kept] - expected) ** 2 / expected).sum()
    # A chi-square variable has mean d and variance 2 d; at 5 deviations, in Wilson and Hilferty's cube.
    spread = 2 / (9 * max(degrees, 1))
    assert statistic <= degrees * (1 - spread + 5 * spread**0.5) ** 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_frequencies_follow_the_softmax_at_any_temperature(temperature):
    assert_drawn_from(frequencies(temperature=temperature), softmax(LOGITS[0], temperature))


@pytest.mark.parametrize("top_k", [1, 2, 4, 6, 100])
def test_the_k_likeliest_keep_their_ratios_and_others_never_come(top_k):
    shares = softmax(LOGITS[0])
    shares[np.argsort(-shares)[top_k:]] = 0
    assert_drawn_from(frequencies(top_k=top_k), shares / shares.sum())


def nucleus(shares, top_p):
    """The fewest of the likeliest that hold ``top_p``, found by adding one after the other."""
    kept, held = np.zeros(len(shares), bool), 0.0
    for token in np.argsort(-shares):
        kept[token] = True
        held += shares[token]
        if held >= top_p:
            break
    return np.where(kept, shares, 0) / shares[kept].sum()


@pytest.mark.parametrize("top_p", [1e-6, 0.2, 0.5, 0.6, 0.75, 0.9, 0.97, 0.999, 1.0])
def test_exactly_the_nucleus_is_kept(top_p):
    assert_drawn_from(frequencies(top_p=top_p), nucleus(softmax(LOGITS[0]), top_p))


@pytest.mark.parametrize("seed", range(5))
def test_the_nucleus_of_each_row_is_its_own(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(50, 9, generator=generator)
    allowed = np.stack([nucleus(softmax(row), 0.7) for row in logits]) > 0
    seen = np.zeros_like(allowed)
    for _ in range(300):
        seen[np.arange(50), choose(logits, generator, top_p=0.7).numpy()] = True
    assert not (seen & ~allowed).any()
    assert seen.sum() > 0.8 * allowed.sum()


def test_all_three_work_together_in_their_order():
    # at temperature 1/2 the shares are squared; then the 4 likeliest; of those, half
    shares = softmax(LOGITS[0], 0.5)
    shares[np.argsort(-shares)[4:]] = 0
    shares = nucleus(shares / shares.sum(), 0.9)
    assert_drawn_from(frequencies(temperature=0.5, top_k=4, top_p=0.9), shares)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}])
def test_the_likeliest_token_is_certain(options):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 30, generator=generator)
    assert torch.equal(choose(logits, generator, **options), logits.argmax(-1))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.99}, {"temperature": 5.0}, {"top_k": 100}])
def test_a_token_of_probability_zero_never_comes(options):
    logits = LOGITS.clone()
    logits[0, 2] = -torch.inf
    drawn = choose(logits.expand(5000, -1), torch.Generator().manual_seed(0), **options)
    assert not (drawn == 2).any()


def test_one_seed_is_one_choice_whatever_the_global_chance():
    torch.manual_seed(1)
    first = choose(LOGITS.expand(100, -1), torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    assert torch.equal(choose(LOGITS.expand(100, -1), torch.Generator().manual_seed(3)), first)


def test_next_to_no_temperature_is_none():
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    logits[:, 0] = -torch.inf
    for temperature in (5e-324, 1e-310, 1e-299):
        assert torch.equal(choose(logits, torch.Generator(), temperature=temperature), logits.argmax(-1))


@pytest.mark.parametrize(
    "options",
    [
        *({"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")}),
        *({"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_p": float("nan")}),
    ],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(RequestError, match="temperature must be 0 or more"):
        choose(LOGITS, torch.Generator(), **options)
