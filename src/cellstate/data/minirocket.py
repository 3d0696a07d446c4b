"""MiniRocket (Dempster, Schmidt & Webb, 2021) of aeon, as a reference for sequence classifiers."""

from __future__ import annotations

import torch
from torch.nn import functional

from cellstate.data.samples import TensorSamples
from cellstate.errors import RequestError
from cellstate.metrics.classification import classification_scores

SHORTEST = 9  # length of its kernels


def minirocket(
    training: TensorSamples, reported: TensorSamples, classes: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return metric -> ``minirocket`` -> score of ridge regression on its features.

    Shorter sequences are padded with 0, the mean of the training split. As there are no probabilities, only
    accuracy and f1 are available.

    Raises:
        RequestError: aeon is not installed.
    """
    try:
        from aeon.classification.convolution_based import (  # pyright: ignore[reportMissingImports]
            MiniRocketClassifier,
        )
    except ImportError as error:
        raise RequestError(
            "data.classical=true: MiniRocket needs the package aeon; install it with: pip install cellstate[classical]"
        ) from error
    steps = max(SHORTEST, training.inputs.shape[1], reported.inputs.shape[1])
    given, asked = (
        functional.pad(part.inputs, (0, 0, 0, steps - part.inputs.shape[1])).transpose(1, 2).numpy()
        for part in (training, reported)
    )
    fitted = MiniRocketClassifier(random_state=seed).fit(given, training.targets.numpy())
    answers = torch.from_numpy(fitted.predict(asked)).long()
    scores = classification_scores(functional.one_hot(answers, classes).float(), reported.targets)
    return {metric: {"minirocket": scores[metric]} for metric in ("accuracy", "f1")}
