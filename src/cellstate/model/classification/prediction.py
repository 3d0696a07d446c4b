"""The classes of the sequences in a user's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from cellstate.data.files.unlabelled import read_unlabelled
from cellstate.model.inputs import batches

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.classification.base import SequenceClassifier


def predict_file(model: SequenceClassifier, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the class of each sequence and the probability of every class, with its id or number."""
    key, sequences = read_unlabelled(model.spec, data, path)
    found = [model.predict(rows, lengths) for rows, lengths in batches(sequences)]
    probabilities = np.concatenate([part["probabilities"] for part in found])
    columns = {f"probability_{name}": probabilities[:, number] for number, name in enumerate(model.spec.classes)}
    labels = np.concatenate([part["labels"] for part in found]).tolist()
    return pl.DataFrame({key.name: key, "label": labels, **columns})
