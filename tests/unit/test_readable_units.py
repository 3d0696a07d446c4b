"""Units of character models: those built to follow a property are found, and of untrained networks none is named."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import slow
from torch import nn

from cellstate.backbone import GRU, LSTM
from cellstate.inspection.analysis import Characters, follow, properties, properties_at
from cellstate.inspection.analysis.characters import LEVEL, _strengths, prediction_bound, standardised

SYMBOLS = '\n "(),.ABabcdefghi0123'
WORDS = ["bad", "cab", "Ace", "hi", "dig", "A1", "203", "fee", "chief", "Bed", "a"]


def text_of(lines: int, seed: int) -> str:
    """Lines of words, of which some stand in quotes and some in brackets, with a blank line now and then."""
    draws, written = random.Random(seed), []
    for _ in range(lines):
        words = [draws.choice(WORDS) for _ in range(draws.randint(4, 12))]
        if draws.random() < 0.6:
            at = draws.randrange(len(words) - 2)
            words[at], words[at + 2] = '"' + words[at], words[at + 2] + '"'
        elif draws.random() < 0.5:
            at = draws.randrange(len(words) - 2)
            words[at], words[at + 2] = "(" + words[at], words[at + 2] + ")"
        written.append(" ".join(words) + "." + ("\n" if draws.random() < 0.1 else ""))
    return "\n".join(written)


TEXT = text_of(600, seed=0)
# Where a line begins, so that a network that knows nothing yet knows all that there is to know.
STARTS = [at + 1 for at, sign in enumerate(TEXT[:-130]) if sign == "\n" and TEXT[at + 1] != "\n"][::10][:32]
MARKS = properties_at(TEXT, STARTS, 120)
TOKENS = torch.tensor([[SYMBOLS.index(sign) for sign in TEXT[start : start + 120]] for start in STARTS])


def one_hot(tokens: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(SYMBOLS))[tokens]


def built(unit: int, size: int = 12) -> LSTM:
    """A network drawn at random, and return it for one unit to be written by hand."""
    torch.manual_seed(1)
    network = LSTM(len(SYMBOLS), size)
    with torch.no_grad():
        for name, parameter in network.network.named_parameters():
            rows = [unit + gate * size for gate in range(4)]
            parameter[rows] = 0.0
            if name.startswith("weight_hh"):
                parameter[:, unit] = 0.0  # nobody else reads it
    return network


def set_unit(
    network: LSTM, unit: int, gate: int, of_input: dict[str, float], bias: float, of_itself: float = 0
) -> None:
    """Write one gate of one unit: 0 input, 1 forget, 2 candidate, 3 output."""
    size = network.network.hidden_size
    weights = dict(network.network.named_parameters())
    row = unit + gate * size
    with torch.no_grad():
        for sign, value in of_input.items():
            weights["weight_ih_l0"][row, SYMBOLS.index(sign)] = value
        weights["bias_ih_l0"][row] = bias
        weights["weight_hh_l0"][row, unit] = of_itself


def best_of(found: Characters, what: str) -> tuple[str, int, float]:
    best = next(one for one in found.following() if one.what == what)
    return best.state, best.unit, best.strength


class TestProperties:
    def test_they_are_what_a_reader_says(self):
        text = 'A (b) "c\nd 12'
        found = properties(text)
        assert found["position in line"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4]
        assert found["position in word"].tolist() == [1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 2]
        assert found["inside brackets"].tolist() == [False] * 2 + [True] * 2 + [False] * 9
        assert found["inside quotes"].tolist() == [False] * 6 + [True] * 7
        assert np.flatnonzero(found["upper case"]).tolist() == [0]
        assert np.flatnonzero(found["digit"]).tolist() == [11, 12]

    def test_a_blank_line_closes_what_was_left_open(self):
        assert properties('"a (\n\nb')["inside quotes"].tolist()[-2:] == [False, False]
        assert not properties('"a (\n\nb')["inside brackets"][-1]

    def test_pieces_know_what_stands_before_them(self):
        whole = properties(TEXT)
        for name, values in MARKS.items():
            for row, start in enumerate(STARTS):
                assert values[row].tolist() == whole[name][start : start + 120].tolist()


class TestStrength:
    def test_it_is_the_auc_of_scores_and_the_rank_correlation_of_counts(self):
        chance = np.random.default_rng(0)
        values = chance.normal(size=(500, 3)).astype(np.float32)
        values[:, 1] = np.round(values[:, 1])  # with ties
        so, counts = chance.random(500) < 0.3, chance.integers(0, 9, 500)
        found = _strengths(standardised(torch.from_numpy(values)), {"so": so, "counts": counts})
        for unit in (0, 2):
            pairs = np.sign(values[so, unit][:, None] - values[~so, unit][None, :])
            assert found[0, unit] == pytest.approx(pairs.mean(), abs=1e-4)  # P(higher) - P(lower) = 2 AUC - 1
        ranks = [np.argsort(np.argsort(values[:, 0])), standardised(torch.from_numpy(counts)[:, None]).numpy()[:, 0]]
        assert found[1, 0] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-4)

    @pytest.mark.parametrize("law", ["normal", "exponential"])
    def test_one_more_network_exceeds_the_bound_in_5_of_100_cases_for_all_properties_together(self, law):
        chance, exceeded = np.random.default_rng(0), 0
        draw: Any = chance.standard_normal if law == "normal" else chance.standard_exponential
        for _ in range(2000):
            z = 0.5 + 0.05 * draw(size=(20, 6))
            exceeded += bool((np.tanh(z[19]) > prediction_bound(np.tanh(z[:19]))).any())
        assert exceeded / 2000 == pytest.approx(1 - LEVEL, abs=0.015)  # three standard errors


class TestUnits:
    def test_a_unit_that_counts_the_position_in_the_line_is_found(self):
        network = built(unit=5)
        set_unit(network, 5, 0, {}, bias=20)  # writes always
        set_unit(network, 5, 1, {"\n": -40}, bias=20)  # keeps all, and nothing of what was before a line break
        set_unit(network, 5, 2, {"\n": -0.01}, bias=0.01)  # 0.01 for each character, nothing for a line break
        set_unit(network, 5, 3, {}, bias=20)
        state, unit, strength = best_of(follow(network, one_hot, TOKENS, MARKS), "position in line")
        assert (unit, state) in {(5, "l0.c"), (5, "l0.h")}
        assert strength > 0.99

    def test_a_unit_that_a_quote_turns_on_and_off_is_found(self):
        # h is about 0 or 0.76: off, a quote writes 1; on, a quote forgets it, and writes nothing.
        network = built(unit=3)
        set_unit(network, 3, 0, {'"': 20}, bias=-10, of_itself=-40)
        set_unit(network, 3, 1, {'"': -40}, bias=20)
        set_unit(network, 3, 2, {}, bias=20)
        set_unit(network, 3, 3, {}, bias=20)
        state, unit, strength = best_of(follow(network, one_hot, TOKENS, MARKS), "inside quotes")
        assert (unit, state) in {(3, "l0.c"), (3, "l0.h")}
        assert strength > 0.98

    @pytest.mark.parametrize("kind", [GRU, *slow(LSTM)])
    def test_of_untrained_networks_hardly_a_unit_is_named(self, kind):
        named = 0
        for seed in range(10):
            torch.manual_seed(100 + seed)
            network, embedding = kind(16, 20), nn.Embedding(len(SYMBOLS), 16)
            named += bool(follow(network, embedding, TOKENS, MARKS, seed=seed).following())
        assert named <= 2  # of 10, each with a probability of 0.05 or less: 3 or more in 1 % of cases

    def test_properties_that_do_not_vary_are_not_asked_for(self):
        marks = {**MARKS, "never": np.zeros_like(MARKS["digit"])}
        torch.manual_seed(0)
        assert "never" not in follow(LSTM(len(SYMBOLS), 4), one_hot, TOKENS, marks).what

    def test_too_little_text_is_refused(self):
        with pytest.raises(ValueError, match="at least 4 pieces"):
            follow(LSTM(len(SYMBOLS), 4), one_hot, TOKENS[:3], {name: rows[:3] for name, rows in MARKS.items()})
