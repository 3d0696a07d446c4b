"""Scores of a classifier, held against counting by hand and against torchmetrics fed batch by batch."""

import itertools
import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from cellstate.metrics.classification import ClassificationScores, classification_scores, constant_scores


def drawn(count=500, classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), targets] += 0.8
    return logits, targets


def batches(count, sizes):
    start = 0
    for size in itertools.cycle(sizes):
        if start >= count:
            return
        yield slice(start, start + size)
        start += size


def pairs_won(scores, positive):
    """The share of pairs of a positive and a negative in which the positive has the higher score; ties half."""
    won = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[positive].tolist()
        for low in scores[~positive].tolist()
    ]
    return sum(won) / len(won)


@pytest.mark.parametrize("sizes", [(64,), (1, 100, 7), (500,)])
def test_two_classes_score_as_torchmetrics_batch_by_batch(sizes):
    logits, targets = drawn()
    scores = ClassificationScores()
    f1, auroc, accuracy = BinaryF1Score(), BinaryAUROC(), MulticlassAccuracy(2, average="micro")
    confusion = MulticlassConfusionMatrix(2)
    for rows in batches(500, sizes):
        scores.update(logits[rows], targets[rows])
        f1.update(logits[rows].argmax(1), targets[rows])
        auroc.update(logits[rows].softmax(1)[:, 1], targets[rows])
        accuracy.update(logits[rows], targets[rows])
        confusion.update(logits[rows], targets[rows])
    found = scores.compute()
    assert found["f1"] == pytest.approx(f1.compute().item(), abs=1e-6)
    assert found["auroc"] == pytest.approx(auroc.compute().item(), abs=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy.compute().item(), abs=1e-6)
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item(), abs=1e-6)
    assert scores.confusion() == confusion.compute().tolist()


@pytest.mark.parametrize("sizes", [(64,), (1, 100, 7)])
def test_several_classes_score_as_torchmetrics_batch_by_batch(sizes):
    logits, targets = drawn(classes=5)
    scores = ClassificationScores()
    f1, auroc, confusion = MulticlassF1Score(5), MulticlassAUROC(5), MulticlassConfusionMatrix(5)
    for rows in batches(500, sizes):
        scores.update(logits[rows], targets[rows])
        f1.update(logits[rows], targets[rows])
        auroc.update(logits[rows].softmax(1), targets[rows])
        confusion.update(logits[rows], targets[rows])
    found = scores.compute()
    assert found["f1"] == pytest.approx(f1.compute().item(), abs=1e-6)
    assert found["auroc"] == pytest.approx(auroc.compute().item(), abs=1e-5)
    assert scores.confusion() == confusion.compute().tolist()


def test_scores_do_not_depend_on_the_batches():
    logits, targets = drawn(501)
    found = []
    for sizes in [(501,), (1,), (500,), (7, 100, 3)]:
        scores = ClassificationScores()
        for rows in batches(501, sizes):
            scores.update(logits[rows], targets[rows])
        found.append(scores.compute())
    assert all(other == found[0] for other in found[1:])


def test_a_case_worked_out_by_hand():
    # Differences of the logits, and the classes: three hits of five, one false positive, one false negative.
    difference = torch.tensor([2.0, -1.0, 0.5, -0.5, 1.0])
    targets = torch.tensor([1, 0, 0, 1, 1])
    logits = torch.stack((-difference / 2, difference / 2), dim=1)
    found = classification_scores(logits, targets)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    # positives 2, -0.5, 1 against negatives -1, 0.5: 2 + 1 + 2 of 6 pairs
    assert found["auroc"] == pytest.approx(5 / 6)
    right = [2.0, 1.0, -0.5, -0.5, 1.0]
    assert found["loss"] == pytest.approx(sum(math.log(1 + math.exp(-margin)) for margin in right) / 5)
    scores = ClassificationScores()
    scores.update(logits, targets)
    assert scores.confusion() == [[1, 1], [1, 2]]


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3, 1e6])
def test_auroc_is_the_share_of_pairs_won_at_any_scale_of_the_logits(scale):
    # From 40 on a sigmoid is 1 to the last bit, and confident scores would all be ties.
    generator = np.random.default_rng(0)
    difference = torch.from_numpy(generator.integers(20, 60, 120).astype(np.float32)) * scale
    targets = torch.from_numpy((generator.random(120) < 0.4).astype(np.int64))
    found = classification_scores(torch.stack((torch.zeros(120), difference), 1), targets)
    assert found["auroc"] == pytest.approx(pairs_won(difference, targets == 1), abs=1e-6)


def test_auroc_of_several_classes_is_the_mean_of_each_against_the_rest():
    logits, targets = drawn(90, classes=4)
    shares = logits.double().softmax(1)
    each = [pairs_won(shares[:, number], targets == number) for number in range(4)]
    assert classification_scores(logits, targets)["auroc"] == pytest.approx(np.mean(each), abs=1e-6)


def test_a_class_that_does_not_occur_has_no_auroc():
    logits, targets = drawn(90, classes=3)
    wide = torch.cat((logits, torch.zeros(90, 1)), dim=1)
    each = [pairs_won(wide.double().softmax(1)[:, number], targets == number) for number in range(3)]
    assert classification_scores(wide, targets)["auroc"] == pytest.approx(np.mean(each), abs=1e-6)


@pytest.mark.parametrize("only", [0, 1])
def test_where_all_samples_are_of_one_class_there_is_no_auroc(only):
    logits, _ = drawn(20)
    found = classification_scores(logits, torch.full((20,), only))
    assert "auroc" not in found
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == only).double().mean().item())


def test_a_perfect_classifier_reaches_every_optimum():
    targets = torch.tensor([0, 1] * 30)
    logits = torch.nn.functional.one_hot(targets, 2).float() * 1000
    assert classification_scores(logits, targets) == {"loss": 0, "accuracy": 1, "f1": 1, "auroc": 1}


def test_knowing_only_the_shares_costs_their_entropy():
    counts, targets = torch.tensor([300, 100]), torch.tensor([0] * 30 + [1] * 10)
    found = constant_scores(counts, targets)
    assert found["loss"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found["accuracy"] == 0.75
    assert found["f1"] == 0
    assert found["auroc"] == 0.5
