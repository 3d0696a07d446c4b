"""Base class of generated regression tasks: scaled targets and reference scores."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from cellstate.data.batch import DataSpec
from cellstate.data.datamodule import Prepared, Scores, check_same
from cellstate.data.samples import Samples, TensorSamples
from cellstate.data.synthetic.generated import GeneratedData
from cellstate.errors import RequestError
from cellstate.metrics.regression import regression_scores


class GeneratedRegression(GeneratedData):
    """Generated sequences with one or more target values each.

    Subclasses define ``target_names``, ``question``, ``draw``, whose samples have unscaled targets ``(N, K)`` in double
    precision, and ``predictions``, the baselines. The splits contain the targets standardised with the training split,
    with ``fresh`` that of the first epoch, so that all epochs use the same unit.
    """

    gives = "targets"

    @abstractmethod
    def target_names(self) -> tuple[str, ...]:
        """Return the names of the K targets."""

    @abstractmethod
    def predictions(self) -> dict[str, NDArray[np.float64]]:
        """Return baseline name -> its predictions for the reported split, broadcastable to ``(N, K)``."""

    @override
    def specification(self, training: TensorSamples) -> DataSpec:
        targets = training.targets.numpy()
        known = {"input_size": training.inputs.shape[-1], "targets": self.target_names()}
        if self.fitted is not None:
            spec = DataSpec(**known, mean=self.fitted.mean, std=self.fitted.std)
            check_same(spec, self.fitted)
            return spec
        constant = [name for name, width in zip(self.target_names(), np.ptp(targets, axis=0), strict=True) if not width]
        if constant:
            raise RequestError(
                f"data: {constant[0]!r} is constant over all {len(targets):,} training sequences, "
                "so there is nothing to learn; set a larger data.train_size"
            )
        return DataSpec(**known, mean=tuple(targets.mean(axis=0).tolist()), std=tuple(targets.std(axis=0).tolist()))

    @override
    def prepare(self) -> Prepared:
        drawn = super().prepare()
        splits: dict[str, Samples] = {}
        self._values: dict[str, NDArray[np.float64]] = {}
        for split, samples in drawn.splits.items():
            assert isinstance(samples, TensorSamples)
            self._values[split] = samples.targets.numpy()
            splits[split] = scaled(samples, drawn.spec)
        return Prepared(drawn.spec, splits, drawn.facts)

    @override
    def forget_test(self) -> None:
        del self._values["test"]

    @override
    def training_samples(self, epoch: int) -> Samples:
        size = self.sizes["train"]
        drawn = self.draw("train", np.arange(epoch * size, (epoch + 1) * size))
        return scaled(drawn, self.spec).to(self.device())

    def values(self, split: str) -> NDArray[np.float64]:
        """Return the unscaled targets of a split, ``(N, K)``."""
        _ = self.prepared.splits[split]  # raises if it is locked
        return self._values[split]

    def references(self) -> dict[str, Scores]:
        """The mean of the training split and each of ``predictions``, scored on the reported split."""
        truth = self.values(self.reported_split)
        named = {"mean": np.asarray(self.spec.mean), **self.predictions()}
        scores = {
            name: regression_scores(np.broadcast_to(prediction, truth.shape), truth, spec=self.spec)
            for name, prediction in named.items()
        }
        return {metric: {name: score[metric] for name, score in scores.items()} for metric in scores["mean"]}


def scaled(samples: TensorSamples, spec: DataSpec) -> TensorSamples:
    """Return samples with targets as z-scores, computed in double and stored in single precision."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (spec.mean, spec.std))
    return TensorSamples(samples.inputs, ((samples.targets - mean) / std).float(), samples.lengths)
