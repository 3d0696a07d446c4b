"""Dynamic time warping of many pairs at once against a plain dynamic programme, and as a nearest neighbour."""

import numpy as np
import pytest
import torch

from cellstate.data.neighbour import nearest_neighbour
from cellstate.data.samples import TensorSamples
from cellstate.data.warping import band_of, warping_distances


def plain(one, other, band):
    """The recurrence of Sakoe & Chiba, cell by cell."""
    table = np.full((len(one) + 1, len(other) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(one)):
        for j in range(max(0, i - band), min(len(other), i + band + 1)):
            before = min(table[i, j + 1], table[i + 1, j], table[i, j])
            table[i + 1, j + 1] = before + ((one[i] - other[j]) ** 2).sum()
    return table[-1, -1]


@pytest.mark.parametrize(
    ("steps", "other_steps", "features", "band"),
    [(7, 7, 1, 2), (9, 6, 2, 4), (5, 11, 3, 7), (12, 12, 1, 0), (1, 4, 2, 3), (8, 8, 2, 20)],
)
@pytest.mark.parametrize("ragged", [False, True])
def test_distances_are_those_of_a_plain_dynamic_programme(steps, other_steps, features, band, ragged):
    random = torch.Generator().manual_seed(0)
    queries = torch.randn(3, steps, features, generator=random)
    others = torch.randn(4, other_steps, features, generator=random)
    lengths, other_lengths = torch.full((3,), steps), torch.full((4,), other_steps)
    if ragged:
        lengths = torch.randint(1, steps + 1, (3,), generator=random)
        other_lengths = torch.randint(1, other_steps + 1, (4,), generator=random)
    found = warping_distances(queries, others, lengths, other_lengths, band)
    expected = [
        [plain(one[:end].double().numpy(), other[:stop].double().numpy(), band) for other, stop in pairs]
        for one, end in zip(queries, lengths.tolist(), strict=True)
        for pairs in [list(zip(others, other_lengths.tolist(), strict=True))]
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_a_band_to_warp_in_it_is_the_euclidean_distance():
    queries, others = torch.randn(5, 20, 2), torch.randn(6, 20, 2)
    full = torch.full((5,), 20), torch.full((6,), 20)
    found = warping_distances(queries, others, *full, 0)
    torch.testing.assert_close(found, torch.cdist(queries.flatten(1), others.flatten(1)).square(), rtol=1e-4, atol=1e-4)


def test_the_band_is_a_tenth_of_the_longest_and_spans_all_differences_of_length():
    assert band_of(torch.tensor([100, 100]), torch.tensor([100])) == 10
    assert band_of(torch.tensor([7, 29]), torch.tensor([12, 26])) == 3 + 22


def test_a_bump_that_comes_late_is_near_under_warping_alone():
    time = torch.arange(60.0)

    def bump(centre, height):
        return (height * torch.exp(-(((time - centre) / 3) ** 2))).unsqueeze(-1)

    training = TensorSamples(torch.stack([bump(30, 1.0), bump(34, 0.5)]), torch.tensor([0, 1]))
    late = TensorSamples(torch.stack([bump(35, 1.0), bump(29, 0.5)]), torch.tensor([0, 1]))
    table = nearest_neighbour(training, late, 2)["accuracy"]
    assert table["nearest_neighbour_dtw"] == 1
    assert table["nearest_neighbour"] < 1
