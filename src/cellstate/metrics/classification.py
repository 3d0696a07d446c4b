"""Scores of a classifier, computed once over the entire split and so independent of the batch size."""

from __future__ import annotations

import torch
from torch import Tensor

from cellstate.metrics.precision import at_least_single


class ClassificationScores:
    """Keeps the logits and classes of a split on the device; scores are computed at the end."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add predictions ``logits (B, K)`` for classes ``targets (B,)``."""
        self.logits.append(at_least_single(logits.detach()))
        self.targets.append(targets)

    def compute(self) -> dict[str, float]:
        """Return loss (nats per sample), accuracy, f1 and auroc."""
        return classification_scores(torch.cat(self.logits), torch.cat(self.targets))

    def confusion(self) -> list[list[int]]:
        """Return the confusion matrix: counts by true class (row) and predicted class (column)."""
        logits = torch.cat(self.logits)
        classes = logits.shape[1]
        cells = torch.bincount(torch.cat(self.targets) * classes + logits.argmax(1), minlength=classes * classes)
        return cells.view(classes, classes).tolist()


def classification_scores(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return loss, accuracy, f1 and auroc of ``logits (N, K)`` for ``targets (N,)``.

    With two classes, f1 and auroc are those of class 1; with more, the unweighted mean over the classes (macro). The
    auroc of a class without positives or negatives is undefined: the mean is over the others, and omitted if there are
    none.
    """
    # Imported here: torchmetrics takes half a second to load.
    from torchmetrics.functional.classification import binary_f1_score
    from torchmetrics.functional.classification import multiclass_f1_score as macro_f1

    classes = logits.shape[1]
    loss = torch.nn.functional.cross_entropy(logits.double(), targets)
    predicted = logits.argmax(1)
    if classes == 2:
        f1 = binary_f1_score(predicted, targets)
        areas = [auroc(logits[:, 1].double() - logits[:, 0].double(), targets == 1)]
    else:
        f1 = macro_f1(predicted, targets, classes, average="macro")
        shares = logits.double().softmax(1)
        areas = [auroc(shares[:, number], targets == number) for number in range(classes)]
    scores = {"loss": loss.item(), "accuracy": (predicted == targets).double().mean().item(), "f1": f1.item()}
    known = [area for area in areas if area is not None]
    return {**scores, "auroc": sum(known) / len(known)} if known else scores


def auroc(scores: Tensor, positive: Tensor) -> float | None:
    """Return the probability that a positive has a higher score than a negative, ties counted half; None without both.

    scores ``(N,)`` of any range: they are replaced by ranks, so that none saturates. positive ``(N,)`` bool.
    """
    from torchmetrics.functional.classification import binary_auroc

    if positive.all() or not positive.any():
        return None
    _, ranks = scores.unique(return_inverse=True)
    return binary_auroc(ranks.double() / len(ranks), positive.long()).item()


def constant_scores(counts: Tensor, targets: Tensor) -> dict[str, float]:
    """Score the constant classifier with the class frequencies ``counts (K,)`` on ``targets (N,)``.

    Its probabilities are the same for every sample, so its auroc is 1/2.
    """
    shares = (counts.double() + 1e-12) / (counts.sum() + 1e-12)
    return classification_scores(shares.log().expand(len(targets), -1), targets)
