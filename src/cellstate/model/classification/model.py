"""A sequence classifier: backbone, pooling to one vector per sequence, linear head."""

from __future__ import annotations

from cellstate.config.types import Probability
from cellstate.data.batch import DataSpec
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.classification.base import SequenceClassifier
from cellstate.model.pooling import PoolingKind


class Classifier(SequenceClassifier):
    """Assigns one of ``spec.classes`` to each sequence.

    Args:
        spec: classes and input size.
        backbone: called with ``input_size``; may be bidirectional.
        pooling: the vector of a sequence: its ``last`` output (of each direction), or ``mean``, ``max`` or learned
            ``attention`` over its valid steps; see ``Pooling``.
        dropout: on that vector, during training.
        label_smoothing: share of each training target that is spread evenly over all classes (Szegedy et al., 2016).
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        pooling: PoolingKind = "last",
        dropout: Probability = 0.0,
        label_smoothing: Probability = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(
            spec,
            backbone,
            len(spec.classes),
            pooling=pooling,
            dropout=dropout,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.label_smoothing = label_smoothing
