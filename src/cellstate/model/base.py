"""What all models share: building the backbone, the optimiser, and scores that are kept out of the training step."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
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

TRAINING = "cellstate_training"  # where a checkpoint keeps what training holds beside weights
BackboneFactory = Callable[..., Backbone]
OptimizerFactory = Callable[..., torch.optim.Optimizer]
SchedulerFactory = Callable[..., dict[str, Any]]

# Lightning writes these attributes at every hook, some 46 times a step. They hold no parameter and no module, so
# they may bypass nn.Module.__setattr__, which looks for both and costs ten times a plain assignment.
_BOOKKEEPING = frozenset({"_current_fx_name", "_dataloader_idx", "_trainer"})


class Scores(Protocol):
    """Accumulates predictions of a split and computes the metrics of all of them at once.

    Lists of tensors are joined where several processes share a split, tensors are added up: so a list has one tensor a
    batch, and a tensor is a sum.
    """

    def compute(self) -> dict[str, float]:
        """Return metric -> value."""
        ...


class MeanLoss:
    """The mean of losses that are each a mean over some samples.

    On an accelerator the sum stays on the device, as reading each loss back would stall it. On the CPU there is
    nothing to wait for, and a Python number is added up faster than a tensor.
    """

    def __init__(self, device: torch.device) -> None:
        precise = torch.float32 if device.type == "mps" else torch.float64  # MPS has no doubles
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
        """Return sum and weight so far, as numbers."""
        return [float(self._sum), float(self._weight)]

    def take_up(self, state: list[float]) -> None:
        """Go on from what ``state`` gave."""
        total, weight = state
        self._sum = torch.full_like(self._sum, total) if isinstance(self._sum, Tensor) else total
        self._weight = int(weight)

    def compute(self) -> float | None:
        """Return the mean over all samples; None where there were none."""
        weight = float(self._weight)
        return float(self._sum) / weight if weight else None


class SequenceModel(L.LightningModule):
    """A backbone, a head and a loss.

    Subclasses implement ``forward``, ``loss``, ``new_scores`` and ``update_scores``; all else has a default. What only
    one kind of model knows of its reports, predictions of files and inspection, it says itself: see ``headline``,
    ``section``, ``tables``, ``predict_file``, ``generate`` and ``inspector_class``.

    Nothing is logged and nothing is read back from the device within a step: on small models that would cost more than
    the step itself. Losses are summed on the device and read once an epoch.

    Attributes:
        spec: what the data looks like.
        results: split -> metric -> value, of the newest pass over that split.
    """

    needs: str
    """What ``spec`` must hold for this task: ``classes``, ``targets``, ``horizon`` or ``vocabulary``."""
    backbone: Any
    """The network that is inspected; subclasses set it. One pass of the model is one call of it."""
    headline: ClassVar[Headline] = Headline()
    """What runs of this kind of model are judged by."""
    inspector_class: ClassVar[type[Inspector]] = Inspector
    """Who answers ``cellstate inspect`` for this kind of model."""
    writes_text: ClassVar[bool] = False
    """Whether ``generate`` writes text."""

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
        self._plateau: dict[str, Any] | None = None  # a schedule that waits for results
        self._resumed: dict[str, Any] | None = None  # what a checkpoint brought, until training goes on

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _BOOKKEEPING:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # ------------------------------------------------------------------ what a task defines

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, from what ``forward`` gave."""

    @abstractmethod
    def new_scores(self) -> Any:
        """Return empty scores for one pass over a split."""

    @abstractmethod
    def update_scores(self, scores: Any, output: Any, batch: Batch) -> None:
        """Add one batch to ``scores``."""

    def compute_output(self, batch: Batch) -> Any:
        """Return what the head gives for a batch; models that carry state override this."""
        return self(batch.inputs, batch.lengths)

    def loss_weight(self, batch: Batch) -> int | Tensor:
        """Return how many samples the mean of ``loss`` is over."""
        return len(batch.inputs)

    def references(self, data: SequenceData) -> dict[str, dict[str, float]]:  # noqa: ARG002
        """Return metric -> name -> score for metrics that the data knows nothing of, as only this model has them."""
        return {}

    # ------------------------------------------------------------------ what a task may define

    @property
    def inspector(self) -> Inspector:
        """What ``cellstate inspect`` asks."""
        return self.inspector_class(self)

    def section(self, material: Material) -> Section:  # noqa: ARG002
        """Return what the run's page shows beyond learning curves and the table of results."""
        return Section()

    def tables(self, material: Material) -> dict[str, Rows]:  # noqa: ARG002
        """Return name -> rows, the numbers behind the figures of ``section``."""
        return {}

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:  # noqa: ARG002
        """Return what is predicted for the sequences of a user's file, a row or more for each.

        Args:
            data: as the model was trained on, not read: it says how its files are read.
            path: of the file.

        Raises:
            RequestError: the file cannot be read, or does not fit the model.
        """
        raise UnsupportedError(f"a {type(self).__name__}, which predicts from no file (it has no predict_file)")

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
        """Write ``length`` symbols that follow ``prompt``; see ``LanguageModel.generate``."""
        raise UnsupportedError(
            f"a {type(self).__name__}, which writes no text; give the checkpoint of a language model, such as of "
            "experiment=char_lm, or predict with cellstate predict"
        )

    # ------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        """Begin a mean on the device, or take up the one of the run that goes on."""
        self._mean_loss = MeanLoss(self.device)
        self._take_up_resumed()

    def on_fit_end(self) -> None:
        """Take up what a checkpoint brought where nothing was left to train."""
        self._take_up_resumed()

    def _take_up_resumed(self) -> None:
        if self._resumed is not None:
            self._mean_loss.take_up(self._resumed["mean_loss"])
            if self._plateau is not None:
                self._plateau["scheduler"].load_state_dict(self._resumed["plateau"])
            self._resumed = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of one batch, or of this process's share of it, weighted so that all shares count rightly."""
        loss, weight = self.loss(self.compute_output(batch), batch), self.loss_weight(batch)
        self._mean_loss.add(loss, weight)
        share = share_of(weight, self.device)
        return loss if share is None else loss * share.to(loss.dtype)

    def conclude_training(self) -> None:
        """Take the mean training loss for a result, where there is no validation that does."""
        self.results = {**self.results, "train": on_first(_mean_of_all, self._mean_loss.state())}

    def train_results(self) -> dict[str, float]:
        """Return the mean training loss since the last validation, with dropout and while the weights moved."""
        mean = self._mean_loss.compute()
        return {} if mean is None else {"loss": mean}

    def training_state(self) -> dict[str, Any]:
        """Return what training keeps beside weights, as numbers and tensors; models that carry a state add it."""
        plateau = None if self._plateau is None else self._plateau["scheduler"].state_dict()
        return {"mean_loss": self._mean_loss.state(), "results": self.results, "plateau": plateau}

    def take_up_training(self, state: dict[str, Any]) -> None:
        """Go on from what ``training_state`` gave."""
        self.results = state["results"]
        self._mean_loss.take_up(state["mean_loss"])  # one that is none is refused as the file is read
        self._resumed = state

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of training."""
        checkpoint[TRAINING] = gather(self.training_state())  # of each process

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the state of training."""
        self.take_up_training(own_of(checkpoint[TRAINING]))

    # ------------------------------------------------------------------ evaluation

    def on_validation_epoch_start(self) -> None:
        """Begin new scores."""
        self._scores = self.new_scores()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Score one batch."""
        self.update_scores(self._scores, self.compute_output(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the scores of the whole split and hand them to callbacks; loggers get them as rows of the history."""
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
        """Compute the scores of the whole split."""
        self._finish("test")

    def _finish(self, split: str) -> None:
        kept = portable(self._scores) if self.trainer.world_size > 1 else {}
        results, train = on_first(self._of_all, (kept, self._mean_loss.state()))
        self.results = {**self.results, split: results, "train": train or self.results.get("train", {})}
        self.last_scores, self._scores = self._scores, None
        self.log_dict({f"{split}/{name}": value for name, value in results.items()}, logger=False)

    def _of_all(self, parts: list[tuple[dict[str, Any], list[float]]]) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of the split and the mean training loss, of all processes together."""
        kept, losses = zip(*parts, strict=True)
        if len(parts) > 1:
            for name, value in joined(kept).items():
                setattr(self._scores, name, value)
        return self._scores.compute(), _mean_of_all(losses)

    # ------------------------------------------------------------------ optimisation

    def configure_optimizers(self) -> Any:
        """Build the optimiser and, if there is one, its schedule over the steps of the whole run."""
        if self._optimizer is None:
            raise RuntimeError("this model was built to predict: it has no optimizer")
        optimizer = self._optimizer(self.parameters())
        # Fused optimisers would undo the scaling of 16-bit gradients within their step, after gradients were clipped,
        # so Lightning refuses the two together. Told not to, they find gradients unscaled first, then clipped.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if self._scheduler is None:
            return optimizer
        schedule = self._scheduler(optimizer, total_steps=total_steps(self.trainer))
        if "monitor" not in schedule:
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        # Lightning steps such a schedule after checkpoints are written, and leaves it out where a run goes on within an
        # epoch. So it is kept here, where it is stepped within the validation and saved with what training holds.
        self._plateau = schedule
        return optimizer

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch, and cost nothing where it already lies on the device."""
        if batch.inputs.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _mean_of_all(losses: Iterable[Sequence[float]]) -> dict[str, float]:
    """Return the mean of losses of which each process has a sum and a weight."""
    total, weight = (sum(column) for column in zip(*losses, strict=True))
    return {"loss": total / weight} if weight else {}


def total_steps(trainer: L.Trainer) -> float:
    """Return the optimiser steps of a whole run, infinite where nothing but time ends it.

    ``Trainer.estimated_stepping_batches`` says the same, but it sets up the training data in passing, which then no
    longer takes up its position from a checkpoint (Lightning 2.6).
    """
    steps = math.inf if trainer.max_steps == -1 else trainer.max_steps
    if trainer.max_epochs in (-1, None):
        return steps
    data: SequenceData | None = getattr(trainer, "datamodule", None)
    if data is None:  # loaders given by hand
        return trainer.estimated_stepping_batches
    loader = data.train_dataloader()
    batches = len(loader) if loader.limit is None else min(loader.limit, len(loader))
    return min(steps, math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs)


# Lightning asks for the signature of training_step at every step, to see whether it takes a batch_idx. Left here,
# inspect finds it at once and need not work it out.
SequenceModel.training_step.__signature__ = inspect.signature(SequenceModel.training_step)  # type: ignore[attr-defined]
