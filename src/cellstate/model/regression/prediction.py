"""The values of the sequences in a user's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from cellstate.data.files.unlabelled import read_unlabelled
from cellstate.model.inputs import batches

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model.regression.model import Regressor


def predict_file(model: Regressor, data: SequenceData, path: str) -> pl.DataFrame:
    """Return the values of each sequence, with its id or number."""
    key, sequences = read_unlabelled(model.spec, data, path)
    values = np.concatenate([model.predict(rows, lengths) for rows, lengths in batches(sequences)])
    return pl.DataFrame({key.name: key, **{name: values[:, at] for at, name in enumerate(model.spec.targets)}})
