"""Pieces of a text that a network is looked at with: none overlaps another, and repetitions are no evidence."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from cellstate.errors import RequestError
from cellstate.inspection.sequences import FEWEST, pieces


def tokens_of(text: str) -> torch.Tensor:
    return torch.tensor([ord(sign) for sign in text])


def random_text(length: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("abcdefgh .", k=length))


@pytest.mark.parametrize("count", [1, 2, 7, 32, 500])
@pytest.mark.parametrize("steps", [None, 1, 3, 20, 100])
@pytest.mark.parametrize("length", [101, 222, 1000, 12345])
def test_no_two_pieces_overlap_and_each_is_what_stands_there(length, steps, count):
    text = random_text(length)
    found = pieces(tokens_of(text), count, steps, "a text")
    rows, width = found.batch.inputs.shape
    starts = sorted(found.starts)
    assert all(later - start >= width for start, later in itertools.pairwise(starts))
    assert starts[0] >= 0
    assert starts[-1] + width < length  # a character follows, to be predicted
    assert found.count == min(count, (length - 1) // width)  # as many as asked for, or as fit
    assert rows >= found.count
    for start, row, following in zip(found.starts, found.batch.inputs, found.batch.targets, strict=True):
        assert "".join(map(chr, row)) == text[start : start + width]
        assert "".join(map(chr, following)) == text[start + 1 : start + width + 1]


def test_a_text_without_steps_of_its_own_is_cut_into_four_at_least():
    for length in (5, 8, 9, 222, 512, 513):
        assert len(pieces(tokens_of(random_text(length)), 32, None, "a text").starts) >= 4


@pytest.mark.parametrize("steps", [8, 20, 40, 128])
@pytest.mark.parametrize("period", [1, 2, 37, 100])
def test_a_line_said_again_and_again_is_few_independent_pieces(period, steps):
    found = pieces(tokens_of(random_text(period) * (9000 // period)), 32, steps, "a text")
    assert len(found.starts) >= 32
    # What is different in it is no more than the line, and each piece brings three quarters of its length.
    assert found.independent <= max(1, period / (0.75 * steps))
    assert found.independent < FEWEST


@pytest.mark.parametrize("steps", [1, 10, 20, 128])
def test_of_a_text_without_repetitions_all_pieces_count(steps):
    found = pieces(tokens_of(random_text(9000)), 32, steps, "a text")
    assert found.independent == len(found.starts)
    assert found.alone is found


def test_what_repeats_is_left_out_and_the_others_are_what_they_were():
    text = random_text(640) + random_text(640) + random_text(640, seed=1)
    found = pieces(tokens_of(text + "."), 60, 32, "a text")
    alone = found.alone
    assert found.independent == len(alone.starts) == 40
    assert all(start < 640 or start >= 1280 for start in alone.starts)
    for start, row in zip(alone.starts, alone.batch.inputs, strict=True):
        assert "".join(map(chr, row)) == text[start : start + 32]


def test_a_text_that_holds_no_piece_is_refused_in_words():
    with pytest.raises(RequestError, match="a text has 9 characters, too few for pieces of 20; set steps=2"):
        pieces(tokens_of(random_text(9)), 4, 20, "a text")
    for empty in ("", "a"):
        with pytest.raises(RequestError, match="too few"):
            pieces(tokens_of(empty), 4, None, "a text")
