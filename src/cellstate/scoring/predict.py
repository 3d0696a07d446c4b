"""Predictions for a user's file from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cellstate.checkpoint.trust import Trust
from cellstate.data.files.reading import existing_file
from cellstate.scoring.session import asking, open_checkpoint


def predict_file(checkpoint: str | Path, path: str, *, trust: Trust = ()) -> pl.DataFrame:
    """Return the predictions of a trained model for the sequences in a file, in the units of the data.

    Columns are named as in training, and parsed as in the checkpoint's config (id, time, decimals, missing values).

    Args:
        checkpoint: a checkpoint file, or a run folder (its best checkpoint); no code in it is executed.
        path: the file.
        trust: extra packages whose classes may be loaded, such as ``["my_package"]``.

    Raises:
        RequestError: the checkpoint or the file is invalid, or the model does not support it.
    """
    stored = open_checkpoint(checkpoint, trust=trust)
    model = stored.model()
    existing_file(path, key="input")
    with asking(checkpoint):
        return model.predict_file(stored.data(), path)
