"""Lightning's counters after a resume are those of a run that was never stopped.

Where a new version of Lightning fails one of these, callbacks/position.py is the place to change: it alone touches the
counters, and says of each function what Lightning does without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from cellstate.backbone import GRU
from cellstate.callbacks.position import at_safe_point, begin_resumed_epoch, newest_epoch
from cellstate.data import PatternData
from cellstate.model import Classifier

BATCHES = 4  # an epoch


class Saves(L.Callback):
    """Saves as every epoch begins, and corrects what a resume has counted."""

    def __init__(self, folder: Path, *, corrects: bool) -> None:
        self.folder, self.corrects = folder, corrects

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        if self.corrects:
            begin_resumed_epoch(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


def fit(folder: Path, resumed: Path | None = None, *, corrects: bool = True, epochs: int = 3) -> L.Trainer:
    """Train, and leave a checkpoint an epoch in ``folder``."""
    torch.manual_seed(0)
    data = PatternData(train_size=16 * BATCHES, val_size=16, test_size=16, batch_size=16)
    model = Classifier(data.spec, lambda input_size: GRU(input_size, 4), optimizer=torch.optim.Adam)
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=[Saves(folder, corrects=corrects)], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=resumed, weights_only=True)
    return trainer


def loops(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)["loops"]["fit_loop"]


def test_a_resumed_epoch_counts_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    undisturbed, once, twice = (tmp_path / name for name in ("undisturbed", "once", "twice"))
    fit(undisturbed)
    fit(once, undisturbed / "1.ckpt")
    fit(twice, once / "2.ckpt")
    assert loops(once / "2.ckpt") == loops(undisturbed / "2.ckpt")
    ready = loops(once / "2.ckpt")["epoch_progress"]["current"]["ready"]
    assert ready == 3  # epochs 0, 1 and the one that begins


def test_lightning_still_needs_to_be_corrected(tmp_path: Path) -> None:
    fit(tmp_path / "undisturbed")
    fit(tmp_path / "alone", tmp_path / "undisturbed" / "1.ckpt", corrects=False)
    assert loops(tmp_path / "alone" / "2.ckpt") != loops(tmp_path / "undisturbed" / "2.ckpt"), (
        "Lightning counts a resumed epoch as any other now: remove begin_resumed_epoch"
    )


def test_the_loader_is_where_it_was_also_where_lightning_takes_the_epoch_for_complete(tmp_path: Path) -> None:
    trainer = fit(tmp_path)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    ended = trainer.train_dataloader.state_dict()
    assert ended == {"epoch": 2, "position": BATCHES}
    assert fit(tmp_path, tmp_path / "end.ckpt").train_dataloader.state_dict() == ended
    # Trained for longer, it goes on with the order of the fourth epoch; a plain restart would begin with the first.
    assert fit(tmp_path, tmp_path / "end.ckpt", epochs=4).train_dataloader.state_dict()["epoch"] == 3


def test_another_training_on_the_same_data_begins_with_its_first_epoch(tmp_path: Path) -> None:
    trainer = fit(tmp_path, epochs=2)
    data = trainer.datamodule
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    data.load_state_dict(data.state_dict())
    data.setup("fit")
    assert data.train_dataloader().state_dict() == {"epoch": -1, "position": 0}


@pytest.mark.parametrize("interval", [1.0, 0.5])
def test_nothing_is_half_done_between_two_steps_of_an_epoch_alone(interval: float, tmp_path: Path) -> None:
    found: list[tuple[int, bool]] = []

    class Asks(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            assert newest_epoch(trainer) == 0
            found.append((trainer.global_step, at_safe_point(trainer)))

    data = PatternData(train_size=16 * BATCHES, val_size=16, test_size=16, batch_size=16)
    trainer = L.Trainer(
        max_epochs=1, callbacks=[Asks()], val_check_interval=interval, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(
        Classifier(data.spec, lambda input_size: GRU(input_size, 4), optimizer=torch.optim.Adam), datamodule=data
    )
    assert found == [(1, True), (2, interval == 1.0), (3, True), (4, False)]
