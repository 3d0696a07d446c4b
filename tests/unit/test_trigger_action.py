"""Trigger and action, read back from the features by a slow loop and held against the definitions."""

import math

import numpy as np
import pytest
import torch

from cellstate.data.synthetic.generated import SPLITS
from cellstate.data.synthetic.trigger_action import (
    HARD_NEGATIVES,
    KINDS,
    POSITIVE,
    TriggerActionData,
    kinds_of,
    trigger_action_sequences,
)
from cellstate.errors import RequestError

SIGMAS = 5.0  # a true claim fails with probability 6e-7
TRIGGER = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
ACTION = [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
COUNT = 8_000


def sequences(indices, *, seed=0, split="train", **options):
    return trigger_action_sequences(indices, seed=seed, split=split, **options)


def places_of(event, row):
    """The steps at which an event begins, by looking at every step of one sequence."""
    return [step for step in range(len(row) - 1) if row[step : step + 2] == event]


def is_positive(row, max_gap):
    """Whether an action begins 1 to max_gap steps after the last step of a trigger."""
    ends = [place + 1 for place in places_of(TRIGGER, row)]
    return any(1 <= start - end <= max_gap for end in ends for start in places_of(ACTION, row))


def check_uniform(values, low, high):
    """Every integer from low to high comes up equally often, and no other does."""
    assert set(values) == set(range(low, high + 1))
    share = 1 / (high - low + 1)
    counts = np.bincount(np.asarray(values) - low)
    assert abs(counts / len(values) - share).max() < SIGMAS * math.sqrt(share * (1 - share) / len(values))


@pytest.fixture(scope="module")
def found():
    """Kind -> a row of (trigger places, action places) for each of its samples."""
    inputs, _ = sequences(range(COUNT))
    table = {kind: [] for kind in KINDS}
    for row, kind in zip(inputs.tolist(), kinds_of(range(COUNT)), strict=True):
        table[KINDS[kind]].append((places_of(TRIGGER, row), places_of(ACTION, row)))
    return table


@pytest.fixture(scope="module")
def standard():
    return TriggerActionData(train_size=400, val_size=80, test_size=80)


@pytest.mark.parametrize(("length", "max_gap"), [(30, 5), (9, 5), (5, 1), (50, 20)])
@pytest.mark.parametrize("distractors", [True, False])
def test_the_label_is_what_the_sequence_holds(length, max_gap, distractors):
    inputs, labels = sequences(range(800), length=length, max_gap=max_gap, distractors=distractors)
    assert inputs.shape == (800, length, 5)
    assert labels.tolist() == [is_positive(row, max_gap) for row in inputs.tolist()]


def test_either_class_has_half_and_each_negative_an_eighth():
    for split in SPLITS:
        assert sequences(range(1600), split=split)[1].sum() == 800
    counts = dict(zip(KINDS, np.bincount(kinds_of(range(1600)), minlength=len(KINDS)).tolist(), strict=True))
    assert counts == {POSITIVE: 800, **dict.fromkeys(HARD_NEGATIVES, 200), "noise only": 0}


def test_positives_hold_both_events_with_a_uniform_gap(found):
    assert all(len(trigger) == len(action) == 1 for trigger, action in found[POSITIVE])
    check_uniform([action[0] - (trigger[0] + 1) for trigger, action in found[POSITIVE]], 1, 5)


def test_gaps_that_are_too_long_are_uniform_up_to_the_longest_that_fits(found):
    assert all(len(trigger) == len(action) == 1 for trigger, action in found["gap too long"])
    check_uniform([action[0] - (trigger[0] + 1) for trigger, action in found["gap too long"]], 6, 27)


def test_in_the_wrong_order_the_events_are_as_close_as_in_positives(found):
    assert all(len(trigger) == len(action) == 1 for trigger, action in found["action before trigger"])
    check_uniform([trigger[0] - (action[0] + 1) for trigger, action in found["action before trigger"]], 1, 5)


def test_an_event_alone_is_alone_and_stands_anywhere(found):
    assert not any(action for _, action in found["trigger alone"])
    assert not any(trigger for trigger, _ in found["action alone"])
    check_uniform([place for trigger, _ in found["trigger alone"] for place in trigger], 0, 28)
    check_uniform([place for _, action in found["action alone"] for place in action], 0, 28)


def test_the_first_event_stands_anywhere_from_which_both_fit(found):
    for gap in (1, 5):
        starts = [trigger[0] for trigger, action in found[POSITIVE] if action[0] - trigger[0] - 1 == gap]
        check_uniform(starts, 0, 27 - gap)


def test_without_distractors_negatives_are_noise():
    inputs, labels = sequences(range(400), distractors=False)
    assert inputs[labels == 0].max() <= 0.5
    assert (inputs[labels == 1].max((1, 2)) == 1).all()
    positives = labels == 1
    np.testing.assert_array_equal(inputs[positives], sequences(range(400))[0][positives])


def test_all_but_the_events_is_uniform_noise():
    inputs, _ = sequences(range(0, 16_000, 2), distractors=False)
    assert inputs.min() >= 0
    assert inputs.max() <= 0.5
    limit = SIGMAS / math.sqrt(inputs.size)
    assert inputs.mean() == pytest.approx(0.25, abs=limit * 0.5 / math.sqrt(12))
    # share below a tenth of the range, at each place: a uniform value has none of its own
    below = (inputs < 0.05).mean(0)
    assert abs(below - 0.1).max() < SIGMAS * math.sqrt(0.1 * 0.9 / len(inputs))


def test_an_event_cannot_be_missed_among_the_noise():
    inputs, _ = sequences(range(800))
    steps = inputs.reshape(-1, 5)
    events = steps.max(1) == 1
    assert (np.sort(steps[events], axis=1)[:, :4] == 0).all()
    assert steps[~events].max() <= 0.5


def test_a_sample_is_the_same_whoever_asks_in_whatever_order():
    inputs, labels = sequences(range(100))
    order = np.random.default_rng(0).permutation(100)
    shuffled, shuffled_labels = sequences(order)
    np.testing.assert_array_equal(shuffled, inputs[order])
    np.testing.assert_array_equal(shuffled_labels, labels[order])
    np.testing.assert_array_equal(sequences([77])[0][0], inputs[77])


def test_many_samples_are_the_samples_drawn_one_by_one():
    whole, _ = sequences(range(1000))  # more than one block of noise
    for index in (0, 435, 436, 437, 999):
        np.testing.assert_array_equal(sequences([index])[0][0], whole[index])


def test_splits_and_seeds_are_different_draws():
    draws = [sequences(range(32), split=split)[0] for split in SPLITS] + [sequences(range(32), seed=1)[0]]
    assert len({row.tobytes() for draw in draws for row in draw}) == 4 * 32


def test_inputs_are_five_float_features(standard):
    inputs = standard.prepared.splits["train"].inputs
    assert inputs.shape == (400, 30, 5)
    assert inputs.dtype == torch.float32
    assert standard.spec.input_size == 5


def test_guessing_stands_beside_the_result(standard):
    table = standard.reference_table()
    assert standard.spec.classes == ("no action in time", "trigger and action")
    assert table["accuracy"] == {"optimum": 1.0, "majority": 0.5}
    assert table["loss"]["majority"] == pytest.approx(math.log(2))


def test_the_negatives_are_named(standard):
    assert standard.prepared.facts[1] == f"negatives: {', '.join(HARD_NEGATIVES)}"
    plain = TriggerActionData(train_size=64, val_size=64, test_size=64, distractors=False)
    assert plain.prepared.facts[1] == "negatives: noise only"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"length": 8},
            "data.length=8 is too short for both events and a gap longer than data.max_gap=5: set "
            "data.length to 9 or more, or data.max_gap to 4 or less",
        ),
        (
            {"length": 7, "distractors": False},
            "data.length=7 is too short for both events and data.max_gap=5: set data.length to 8 or more, or "
            "data.max_gap to 4 or less",
        ),
        (
            {"length": 4, "max_gap": 1},
            "data.length=4 is too short for both events and a gap longer than data.max_gap=1: set "
            "data.length to 5 or more",
        ),
        ({"max_gap": 0}, "data.max_gap=0 allows no action: set data.max_gap to 1 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, problem):
    with pytest.raises(RequestError) as caught:
        _ = TriggerActionData(**options).prepared
    assert list(caught.value.problems) == [problem]


def test_what_an_error_advises_can_be_drawn():
    for options in ({"length": 9}, {"length": 8, "max_gap": 4}, {"length": 8, "distractors": False}):
        assert len(sequences(range(16), **options)[0]) == 16


def test_an_unknown_split_is_refused():
    with pytest.raises(RequestError, match="did you mean 'train'"):
        sequences([0], split="trian")
