"""Base class of all models: optimisation, evaluation, and the state of training in checkpoints."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import lightning as L
import torch
from torch import Tensor

from cellstate.backbone import Backbone
from cellstate.data.batch import Batch, DataSpec
from cellstate.data.datamodule import SequenceData
from cellstate.distributed import gather, joined, on_first, own_of, portable, share_of
from cellstate.errors import RequestError, UnsupportedError
from cellstate.metrics.headline import Headline
from cellstate.model.inspector import Inspector
from cellstate.plotting.parts import Section

if TYPE_CHECKING:
    import polars as pl

    from cellstate.model.material import Material, Rows

TRAINING = "cellstate_training"  # key of the training state in a checkpoint
BackboneFactory = Callable[..., Backbone]
OptimizerFactory = Callable[..., torch.optim.Optimizer]
SchedulerFactory = Callable[..., dict[str, Any]]

# Lightning sets these attributes at every hook, about 46 times per step. They are neither parameters nor modules, so
# they can bypass nn.Module.__setattr__, which checks for both and takes ten times as long as a plain assignment.
_BOOKKEEPING = frozenset({"_current_fx_name", "_dataloader_idx", "_trainer"})


class Scores(Protocol):
    """Accumulates the predictions of a split and computes their metrics at the end.

    With several processes, lists of tensors are concatenated and tensors are summed: a list has one tensor per batch,
    and a tensor is a sum.
    """

    def compute(self) -> dict[str, float]:
        """Return metric -> value."""
        ...


class MeanLoss:
    """The weighted mean of batch losses.

    On an accelerator the sum stays on the device, as reading each loss would synchronise. On the CPU, summing Python
    numbers is faster than summing tensors.
    """

    def __init__(self, device: torch.device) -> None:
        precise = torch.float32 if device.type == "mps" else torch.float64  # MPS does not support float64
        self._sum: float | Tensor = 0.0 if device.type == "cpu" else torch.zeros((), dtype=precise, device=device)
        self._weight: int | Tensor = 0

    def add(self, loss: Tensor, weight: int | Tensor) -> None:
        """Add the mean ``loss ()`` of ``weight`` samples."""
        if isinstance(self._sum, Tensor):
            self._sum += loss.detach().to(self._sum.dtype) * weight
        else:
            self._sum += loss.item() * float(weight)
        self._weight += weight

    def state(self) -> list[float]:
        """Return sum and weight as numbers."""
        return [float(self._sum), float(self._weight)]

    def take_up(self, state: list[float]) -> None:
        """Restore the result of ``state``."""
        total, weight = state
        self._sum = torch.full_like(self._sum, total) if isinstance(self._sum, Tensor) else total
        self._weight = int(weight)

    def compute(self) -> float | None:
        """Return the mean over all samples; None without samples."""
        weight = float(self._weight)
        return float(self._sum) / weight if weight else None


class SequenceModel(L.LightningModule):
    """A backbone, a head and a loss.

    Subclasses implement ``forward``, ``loss``, ``new_scores`` and ``update_scores``; everything else has a default.
    Reports, predictions of files and inspection are customised with ``headline``, ``section``, ``tables``,
    ``predict_file``, ``generate`` and ``inspector_class``.

    Nothing is logged or read from the device within a step, which would take longer than the step itself for small
    models. Losses are summed on the device and read once per epoch.

    Attributes:
        spec: the specification of the data.
        results: split -> metric -> value, of the last pass over that split.
    """

    needs: str
    """The field of ``spec`` that this task requires: ``classes``, ``targets``, ``horizon`` or ``vocabulary``."""
    backbone: Any
    """The network to inspect, set by subclasses. One pass of the model calls it once."""
    headline: ClassVar[Headline] = Headline()
    """The main metric of runs with this model."""
    figures: ClassVar[str | None] = None
    """Module with ``section`` and ``tables`` of this task, imported when a page is written: it loads matplotlib."""
    inspector_class: ClassVar[type[Inspector]] = Inspector
    """Supports ``cellstate inspect`` for this model."""
    rate_factor: float = 1.0
    """Factor on the learning rate of the optimizer, for a model that chooses it from the data."""
    ends_training: bool = False
    """Whether the validation in progress ends a training whose last steps no other validation has seen."""
    averaged: ClassVar[str | None] = None
    """The method whose results an ensemble averages; None if ensembles are not supported."""
    chosen_buffers: ClassVar[frozenset[str]] = frozenset()
    """Buffers that a validation sets, and that are not averaged with the weights."""
    writes_text: ClassVar[bool] = False
    """Whether ``generate`` is supported."""

    def __init__(
        self,
        spec: DataSpec,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        if not getattr(spec, self.needs):
            raise RequestError(
                f"model={type(self).__name__}: needs {self.needs}, which this data does not have; "
                "choose a model for its task (see: cellstate list model)"
            )
        self.spec = spec
        self.results: dict[str, dict[str, float]] = {}
        self._optimizer, self._scheduler = optimizer, scheduler
        self._mean_loss = MeanLoss(self.device)
        self._scores: Any = None
        self._plateau: dict[str, Any] | None = None  # a schedule that depends on results
        self._resumed: dict[str, Any] | None = None  # training state of a checkpoint, until training starts

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _BOOKKEEPING:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # ------------------------------------------------------------------ required members

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, given the output of ``forward``."""

    @abstractmethod
    def new_scores(self) -> Any:
        """Return empty scores for one pass over a split."""

    @abstractmethod
    def update_scores(self, scores: Any, output: Any, batch: Batch) -> None:
        """Add one batch to ``scores``."""

    def compute_output(self, batch: Batch) -> Any:
        """Return the output for a batch; stateful models override this."""
        return self(batch.inputs, batch.lengths)

    def training_loss(self, batch: Batch) -> Tensor:
        """Return the training loss of a batch, a mean over its samples."""
        return self.loss(self.compute_output(batch), batch)

    def loss_weight(self, batch: Batch) -> int | Tensor:
        """Return the number of samples that the mean of ``loss`` is over."""
        return len(batch.inputs)

    def references(self, data: SequenceData) -> dict[str, dict[str, float]]:  # noqa: ARG002
        """Return metric -> name -> score for metrics that are specific to this model."""
        return {}

    # ------------------------------------------------------------------ optional members

    def fit_closed_form(self, data: SequenceData) -> None:
        """Fit in closed form on the training split, before training; by default nothing."""

    def facts(self) -> tuple[str, ...]:
        """Return lines about choices that the model made from the data."""
        return ()

    def average(self, results: list[Any]) -> Any:
        """Return the average of results of the method ``averaged`` of several models."""
        return torch.stack(results).mean(0)

    @property
    def opened(self) -> SequenceModel:
        """The model to inspect; for an ensemble its first member."""
        return self

    @property
    def inspector(self) -> Inspector:
        """The inspector of this model, for ``cellstate inspect``."""
        return self.inspector_class(self)

    def section(self, material: Material) -> Section:
        """Return the content of the run's page in addition to learning curves and the table of results."""
        return Section() if self.figures is None else import_module(self.figures).section(material)

    def tables(self, material: Material) -> dict[str, Rows]:
        """Return name -> rows: the data of the figures in ``section``."""
        return {} if self.figures is None else import_module(self.figures).tables(material)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:  # noqa: ARG002
        """Return the predictions for the sequences in a user's file, one or more rows per sequence.

        Args:
            data: the datamodule of the training, not read: it defines how files are read.
            path: of the file.

        Raises:
            RequestError: the file cannot be read, or does not match the model.
        """
        raise UnsupportedError(f"a {type(self).__name__}, which cannot predict from files (no predict_file)")

    def generate(
        self,
        prompt: str | None = None,  # noqa: ARG002
        length: int = 500,  # noqa: ARG002
        *,
        temperature: float = 1.0,  # noqa: ARG002
        top_k: int | None = None,  # noqa: ARG002
        top_p: float | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
    ) -> str:
        """Generate ``length`` symbols that follow ``prompt``; see ``LanguageModel.generate``."""
        raise UnsupportedError(
            f"a {type(self).__name__}, which does not generate text; give the checkpoint of a language model, such as "
            "one of experiment=char_lm, or use cellstate predict"
        )

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        """Start a mean loss on the device, or restore that of a resumed run."""
        self._mean_loss = MeanLoss(self.device)
        self._take_up_resumed()

    def on_fit_end(self) -> None:
        """Restore the training state if nothing was left to train."""
        self._take_up_resumed()

    def _take_up_resumed(self) -> None:
        if self._resumed is not None:
            self._mean_loss.take_up(self._resumed["mean_loss"])
            if self._plateau is not None:
                self._plateau["scheduler"].load_state_dict(self._resumed["plateau"])
            self._resumed = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch, or of this process's share of it, weighted by the size of the share."""
        loss, weight = self.training_loss(batch), self.loss_weight(batch)
        self._mean_loss.add(loss, weight)
        share = share_of(weight, self.device)
        return loss if share is None else loss * share.to(loss.dtype)

    @property
    def may_choose(self) -> bool:
        """Whether the validation in progress belongs to the training, and may choose parameters of the model."""
        return self.trainer.state.fn == "fit" or self.ends_training

    def conclude_training(self) -> None:
        """Take the mean training loss for a result, where there is no validation that does."""
        self.results = {**self.results, "train": on_first(_mean_of_all, self._mean_loss.state())}

    def train_results(self) -> dict[str, float]:
        """Return the mean training loss since the last validation, with dropout and changing weights."""
        mean = self._mean_loss.compute()
        return {} if mean is None else {"loss": mean}

    def training_state(self) -> dict[str, Any]:
        """Return the state of training other than weights, as numbers and tensors; stateful models extend it."""
        plateau = None if self._plateau is None else self._plateau["scheduler"].state_dict()
        return {"mean_loss": self._mean_loss.state(), "results": self.results, "plateau": plateau}

    def take_up_training(self, state: dict[str, Any]) -> None:
        """Restore the result of ``training_state``."""
        self.results = state["results"]
        self._mean_loss.take_up(state["mean_loss"])  # raises for an invalid state
        self._resumed = state

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of training."""
        checkpoint[TRAINING] = gather(self.training_state())  # of each process

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of training."""
        self.take_up_training(own_of(checkpoint[TRAINING]))

    # ------------------------------------------------------------------ evaluation

    def on_validation_epoch_start(self) -> None:
        """Start new scores."""
        self._scores = self.new_scores()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Score one batch."""
        self.update_scores(self._scores, self.compute_output(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the scores of the split and log them for callbacks; loggers receive them as rows of the history."""
        self._finish("val")
        if self.trainer.state.fn == "fit":
            self._step_plateau()
            self.log_dict({f"train/{name}": value for name, value in self.results["train"].items()}, logger=False)
            self._mean_loss = MeanLoss(self.device)

    def _step_plateau(self) -> None:
        if self._plateau is None:
            return
        split, _, metric = self._plateau["monitor"].partition("/")
        self._plateau["scheduler"].step(self.results[split][metric])

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Compute the scores of the split."""
        self._finish("test")

    def _finish(self, split: str) -> None:
        kept = portable(self._scores) if self.trainer.world_size > 1 else {}
        results, train = on_first(partial(self._of_all, split), (kept, self._mean_loss.state()))
        self.results = {**self.results, split: results, "train": train or self.results.get("train", {})}
        self.last_scores, self._scores = self._scores, None
        self.log_dict({f"{split}/{name}": value for name, value in results.items()}, logger=False)

    def _of_all(
        self, split: str, parts: list[tuple[dict[str, Any], list[float]]]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of the split and the mean training loss over all processes."""
        kept, losses = zip(*parts, strict=True)
        if len(parts) > 1:
            for name, value in joined(kept).items():
                setattr(self._scores, name, value)
        scores = {**self._scores.compute(), **self._panel_scores(split, len(parts))}
        return scores, _mean_of_all(losses)

    def _panel_scores(self, split: str, processes: int) -> dict[str, float]:
        """Return what the data adds to the scores, if these are of the first samples of the split, in order."""
        trainer: Any = self.trainer
        data: SequenceData | None = getattr(trainer, "datamodule", None)
        whole = getattr(trainer, f"limit_{split}_batches") == 1.0 and not trainer.sanity_checking
        return {} if data is None or (processes > 1 and not whole) else data.panel_scores(split, self._scores)

    # ------------------------------------------------------------------ optimisation

    def configure_optimizers(self) -> Any:
        """Build the optimiser and, if there is one, its schedule over all steps of the run."""
        if self._optimizer is None:
            raise RuntimeError("this model was built for prediction: it has no optimizer")
        optimizer = self._optimizer(self.parameters())
        for group in optimizer.param_groups:
            group["lr"] *= self.rate_factor
        # Fused optimisers unscale 16-bit gradients within their step, after clipping, so Lightning rejects the
        # combination. With this flag, gradients are unscaled first, then clipped.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self._scheduler is None:
            return optimizer
        schedule = self._scheduler(optimizer, total_steps=total_steps(self.trainer))
        if "monitor" not in schedule:
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        # Lightning steps such a schedule after checkpoints are written, and skips it if a run resumes within an epoch.
        # So it is stepped in our validation instead, and saved with the training state.
        self._plateau = schedule
        return optimizer

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch, at no cost if it is already on the device."""
        if batch.inputs.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _mean_of_all(losses: Iterable[Sequence[float]]) -> dict[str, float]:
    """Return the mean of losses of which each process has a sum and a weight."""
    total, weight = (sum(column) for column in zip(*losses, strict=True))
    return {"loss": total / weight} if weight else {}


def total_steps(trainer: L.Trainer) -> float:
    """Return the number of optimiser steps of a run, infinite if only time ends it.

    ``Trainer.estimated_stepping_batches`` gives the same but also sets up the training data, which then does not
    restore its position from a checkpoint (Lightning 2.6).
    """
    steps = math.inf if trainer.max_steps == -1 else trainer.max_steps
    if trainer.max_epochs in (-1, None):
        return steps
    data: SequenceData | None = getattr(trainer, "datamodule", None)
    if data is None:  # custom loaders
        return trainer.estimated_stepping_batches
    loader = data.train_dataloader()
    batches = len(loader) if loader.limit is None else min(loader.limit, len(loader))
    return min(steps, math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs)


# Lightning inspects the signature of training_step at every step, to see whether it takes a batch_idx. Setting it here
# caches it.
SequenceModel.training_step.__signature__ = inspect.signature(SequenceModel.training_step)  # type: ignore[attr-defined]
