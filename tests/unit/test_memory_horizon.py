"""Memory curves against networks that are built by hand to have a known memory, and against those that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cellstate.backbone import LSTM
from cellstate.config.compose import compose
from cellstate.data.batch import Batch
from cellstate.inspection.analysis import MemoryCurve, influence, influence_on, prediction_recall, recall
from cellstate.inspection.analysis.memory_horizon import (
    categorical_divergence,
    default_lags,
    gaussian_divergence,
    half_length,
    point_divergence,
)
from cellstate.training.build import build_data, build_model
from cellstate.training.settings import Settings


def shift_register(places):
    """h_t = (x_t, x_{t-1}, ..., x_{t-places+1}), exactly, for inputs that are not negative."""
    network = nn.RNN(1, places, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.weight_ih_l0[0] = 1
        network.weight_hh_l0.copy_(torch.diag(torch.ones(places - 1), -1))
    return network


def leaky_integrator(keep):
    """h_t = keep * h_{t-1} + x_t, for inputs that are not negative."""
    network = nn.RNN(1, 1, nonlinearity="relu", batch_first=True).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.weight_ih_l0.fill_(1)
        network.weight_hh_l0.fill_(keep)
    return network


def bits(rows, steps, seed=0, symbols=2):
    return torch.randint(symbols, (rows, steps), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def outputs_of(network, symbols):
    parameter = next(network.parameters())
    return network(symbols.unsqueeze(-1).to(parameter))[0]


class TestShiftRegister:
    @pytest.mark.parametrize("places", [1, 4, 9])
    def test_recall_is_perfect_as_far_as_the_register_reaches_and_chance_beyond(self, places):
        symbols = bits(60, 40)
        curve = recall(outputs_of(shift_register(places), symbols), symbols, range(15))
        assert (curve.values[:places] == 1).all()
        assert not curve.above_chance[places:].any()
        half = curve.half_memory()
        assert (half.steps, half.low, half.high, half.censored) == (places - 1, places - 1, places - 1, False)

    @pytest.mark.parametrize("places", [1, 4, 9])
    def test_a_prediction_that_reads_all_places_is_influenced_by_them_and_by_nothing_older(self, places):
        network = shift_register(places)
        curve = influence(
            lambda symbols: outputs_of(network, symbols)[:, -1], bits(40, 20), divergence=point_divergence
        )
        assert (curve.values[:places] > 0).all()
        assert not curve.values[places:].any()
        # a place that holds something else moves by 1, in about half of the rows, and the divergence is 1/2 of that
        np.testing.assert_allclose(curve.values[:places], 0.25, atol=4 * 0.25 / math.sqrt(40))
        # Rows of one value each: what is replaced differs by as much at every delay, and the length is exact.
        steady = torch.linspace(0.1, 2, 12).view(12, 1).expand(-1, 20)
        half = influence(lambda rows: outputs_of(network, rows)[:, -1], steady, divergence=point_divergence)
        half = half.half_memory()
        assert (half.steps, half.low, half.high) == (places - 1, places - 1, places - 1)

    def test_a_prediction_that_reads_one_place_recalls_at_that_delay_alone(self):
        symbols = bits(40, 30, symbols=5)
        predicted = outputs_of(shift_register(4), symbols)[..., 3].long()
        used = (torch.arange(30) >= 8).expand(40, -1)
        curve = prediction_recall(predicted, symbols, range(8), valid=used)
        assert curve.values[3] == 1
        assert np.flatnonzero(curve.above_chance).tolist() == [3]
        np.testing.assert_allclose(np.delete(curve.values, 3), 0.2, atol=4 * math.sqrt(0.16 / 880))
        assert curve.half_memory().steps == 3

    def test_a_network_that_remembers_beyond_the_longest_delay_says_so(self):
        symbols = bits(30, 20)
        half = recall(outputs_of(shift_register(9), symbols), symbols, range(5)).half_memory()
        assert (half.steps, half.censored) == (4, True)

    def test_lengths_are_counted_from_each_rows_own_end(self):
        network, symbols, lengths = shift_register(3), bits(30, 20), torch.arange(30) % 15 + 6

        def last(symbols):
            return outputs_of(network, symbols)[torch.arange(30), lengths - 1]

        curve = influence(last, symbols, range(12), divergence=point_divergence, lengths=lengths)
        assert curve.weights.sum(0).tolist() == [int((lengths > lag).sum()) for lag in range(12)]
        assert (curve.values[:3] > 0).all()
        assert not curve.values[3:].any()


class TestLeakyIntegrator:
    @pytest.mark.parametrize("keep", [0.5, 0.9, 0.97])
    def test_influence_decays_with_the_square_of_what_is_kept(self, keep):
        network = leaky_integrator(keep)
        # Rows of one value each: what is replaced differs by as much at every delay, and the curve is exact.
        inputs = torch.linspace(0.1, 2, 12, dtype=torch.float64).view(12, 1).expand(-1, 120)
        curve = influence(lambda rows: outputs_of(network, rows)[:, -1], inputs, divergence=point_divergence)
        np.testing.assert_allclose(curve.values / curve.values[0], keep ** (2 * curve.lags), rtol=1e-9, atol=1e-12)
        half = curve.half_memory()
        expected = math.log(0.5) / (2 * math.log(keep))  # where keep^(2 k) = 1/2
        assert half.steps == pytest.approx(expected, rel=1e-9)
        assert half.low == pytest.approx(expected, rel=1e-9)
        # The line that is drawn between the delays is the curve itself, and half of its peak is left at that length.
        lags, line = curve.line()
        np.testing.assert_allclose(line / line[0], keep ** (2 * lags), rtol=1e-9, atol=1e-12)
        assert curve.half_level(half.steps) == pytest.approx(line[0] / 2, rel=1e-9)

    def test_what_a_readout_finds_decays_likewise(self):
        keep = 0.9
        inputs = torch.rand(400, 160, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        settled = (torch.arange(160) >= 80).expand(400, -1)  # the mean of h has risen from 0 to its own level
        curve = recall(outputs_of(leaky_integrator(keep), inputs), inputs, range(20), valid=settled)
        # h_t is a sum of keep^k x_{t-k}, of variance 1 / (1 - keep^2): the share of x_{t-k} in it
        theory = keep ** (2 * curve.lags) * (1 - keep**2)
        np.testing.assert_allclose(curve.values, theory, atol=0.01)
        half = curve.half_memory()
        assert half.low <= math.log(0.5) / (2 * math.log(keep)) <= half.high
        low, high = curve.interval(0.999)
        assert ((low <= theory) & (theory <= high)).all()


class TestLine:
    def test_the_curve_that_is_drawn_has_half_of_its_peak_at_the_half_memory_length(self):
        # Curves that fall at random, with the peak anywhere, chance that differs by delay, and delays far apart.
        draws, drawn = np.random.default_rng(0), 0
        for _ in range(200):
            count = int(draws.integers(2, 12))
            lags = np.cumsum(draws.integers(1, 20, count)) - 1
            chance, above = draws.uniform(0.1, 0.3, count), draws.uniform(0.05, 1, count)
            above[draws.random(count) < 0.3] = 0.01  # within what chance gives
            curve = MemoryCurve("accuracy", lags, (chance + above)[None], np.ones((1, count)), chance, 0.02)
            half = curve.half_memory()
            if half.steps is None or half.censored:
                continue
            drawn += 1
            before, line = curve.line(points=500)
            level = curve.half_level(half.steps)
            # What is drawn above that level ends at the mark.
            over = line - np.interp(before, lags, chance) >= level - np.interp(half.steps, lags, chance) - 1e-9
            assert before[over].max() == pytest.approx(half.steps, abs=20 / 500)
        assert drawn > 50

    def test_a_register_is_drawn_as_holding_its_last_place_and_nothing_behind_it(self):
        symbols = bits(60, 40)
        curve = recall(outputs_of(shift_register(4), symbols), symbols, range(9))
        lags, line = curve.line()
        np.testing.assert_allclose(line[lags < 3], 1, atol=1e-6)
        assert line[lags > 3].max() <= (curve.chance + curve.chance_high).max()
        assert curve.half_memory().steps == 3
        assert 1 > curve.half_level(3) > line[lags > 3].max()  # on the way straight down


class TestNothing:
    def test_a_network_that_ignores_its_input_is_within_chance(self):
        symbols, states = bits(60, 40), torch.randn(60, 40, 8, generator=torch.Generator().manual_seed(1))
        curve = recall(states, symbols, range(10))
        assert curve.within_chance
        assert curve.half_memory().steps is None
        predicted = bits(60, 40, seed=5)
        assert prediction_recall(predicted, symbols, range(10)).within_chance

    def test_the_threshold_of_chance_is_passed_in_about_one_of_twenty_cases(self):
        passed = 0
        for seed in range(40):
            states = torch.randn(20, 12, 3, generator=torch.Generator().manual_seed(1000 + seed))
            passed += not recall(states, bits(20, 12, seed=seed), range(3), seed=seed).within_chance
        assert passed <= 7  # binomial, 40 at 0.05: more than 7 once in a thousand

    def test_an_untrained_language_model_stays_within_chance(self):
        """Its own predictions at delays that an untrained LSTM has forgotten: f is about 0.73, and 0.73^20 = 0.002."""
        within = 0
        for seed in range(10):
            torch.manual_seed(seed)
            embedding, network, head = nn.Embedding(5, 16), LSTM(input_size=16, hidden_size=32), nn.Linear(32, 5)
            symbols = bits(60, 60, seed=seed, symbols=5)
            with torch.no_grad():
                predicted = head(network(embedding(symbols))[0]).argmax(-1)
            within += prediction_recall(predicted, symbols, range(20, 40)).within_chance
        assert within >= 8  # each is with 0.95: fewer than 8 of 10 once in a hundred

    def test_an_untrained_network_uses_ever_less_of_what_lies_back(self):
        torch.manual_seed(0)
        embedding, network, head = nn.Embedding(5, 16), LSTM(input_size=16, hidden_size=32), nn.Linear(32, 5)
        curve = influence(lambda symbols: head(network(embedding(symbols))[0])[:, -1], bits(40, 60, symbols=5))
        assert curve.values[0] > 100 * curve.values[curve.lags >= 20].max()
        assert curve.half_memory().steps < 5


class TestNumbers:
    def test_half_length_of_known_curves(self):
        lags = np.array([0, 1, 2, 4, 8])
        assert half_length(lags, 0.5 ** (lags / 3)) == pytest.approx(3)
        assert half_length(lags, np.array([1, 1, 0, 0, 0])) == 1
        assert half_length(lags, np.array([0, 0, 1, 0, 0])) == 2
        assert half_length(lags, np.zeros(5)) is None
        assert half_length(lags, np.ones(5)) == 8

    def test_divergences_are_those_of_torchs_distributions(self):
        torch.manual_seed(0)
        first, second = torch.randn(4, 6), torch.randn(4, 6)
        classes = torch.distributions.Categorical
        expected = torch.distributions.kl_divergence(classes(logits=first.double()), classes(logits=second.double()))
        torch.testing.assert_close(categorical_divergence(first, second), expected)
        normal = torch.distributions.Normal
        first, second = (torch.stack((torch.randn(4, 3), torch.rand(4, 3) + 0.1), -1).double() for _ in range(2))
        expected = torch.distributions.kl_divergence(normal(*first.unbind(-1)), normal(*second.unbind(-1))).sum(-1)
        torch.testing.assert_close(gaussian_divergence(first, second), expected)
        unit = torch.distributions.kl_divergence(normal(first, 1.0), normal(second, 1.0)).sum((1, 2))
        torch.testing.assert_close(point_divergence(first, second), unit)

    def test_default_delays_are_all_of_a_short_sequence_and_some_of_a_long_one(self):
        assert default_lags(5) == [0, 1, 2, 3, 4]
        long = default_lags(5000)
        assert long[0] == 0
        assert long[-1] == 4999
        assert len(long) <= 40
        assert long == sorted(set(long))

    def test_impossible_requests_are_refused_in_words(self):
        with pytest.raises(ValueError, match=r"delays must be from 0 to 4 in sequences of 5 steps, got \[9\]"):
            recall(torch.zeros(6, 5, 1), torch.zeros(6, 5).long(), [9])
        with pytest.raises(ValueError, match="at least 4 sequences, half of them for fitting, got 3"):
            recall(torch.zeros(3, 5, 1), torch.zeros(3, 5).long(), [1])
        with pytest.raises(ValueError, match="at least 2 sequences"):
            influence(lambda rows: rows, torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ("pattern", []),
        ("char_lm", []),
        ("next_state", []),
        ("labelled", []),
        ("sine", []),
        ("series", []),
        ("series", ["model.head=gaussian"]),
        ("series", ["model.head=quantile"]),
    ],
)
def test_influence_on_every_kind_of_model(experiment, words):
    config, _ = compose("train", [f"experiment={experiment}", "backbone.hidden_size=8", *words])
    torch.manual_seed(0)
    data = build_data(Settings.of(config))
    model = build_model(Settings.of(config), data).train()
    whole = next(iter(data.loader("val", shuffle=False)))
    batch = Batch(*(None if part is None else part[:6] for part in whole))
    curve = influence_on(model, batch, [0, 1])
    assert model.training
    assert np.isfinite(curve.values).all()
    assert (curve.values > 0).any()
