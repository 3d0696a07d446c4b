"""Predictions for a user's file, with nothing but a checkpoint."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cellstate.checkpoint.trust import Trust
from cellstate.data.files.reading import existing_file
from cellstate.scoring.session import asking, open_checkpoint


def predict_file(checkpoint: str | Path, path: str, *, trust: Trust = ()) -> pl.DataFrame:
    """Return what a trained model predicts for the sequences in a file, in the data's own units.

    Columns are named as in training, and read as the checkpoint's config says (id, time, decimals, missing values).

    Args:
        checkpoint: a checkpoint file, or a run folder, whose best one is taken; nothing in it is run.
        path: the file.
        trust: packages of yours whose classes the checkpoint may name, such as ``["my_package"]``.

    Raises:
        RequestError: the checkpoint or the file cannot be used, or nothing can be predicted from it.
    """
    stored = open_checkpoint(checkpoint, trust=trust)
    model = stored.model()
    existing_file(path, key="input")
    with asking(checkpoint):
        return model.predict_file(stored.data(), path)
