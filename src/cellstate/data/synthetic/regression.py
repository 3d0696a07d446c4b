"""What every generated regression task shares: scaled targets, and the numbers beside a result."""

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
    """Generated sequences that have one or more values each.

    Subclasses say what they ask and how samples are drawn: ``target_names``, ``question`` and ``draw``, whose samples
    hold targets ``(N, K)`` in double precision and in the data's own units; and ``predictions``, the simple predictors
    to compare with. The splits hold the targets scaled by the training split's z-score. With ``fresh`` it is that of
    the first epoch, so that all epochs are in one unit.
    """

    @abstractmethod
    def target_names(self) -> tuple[str, ...]:
        """Return the names of the K targets."""

    @abstractmethod
    def predictions(self) -> dict[str, NDArray[np.float64]]:
        """Return what simple predictors say, name -> ``(N, K)`` or what broadcasts to it, of the reported split."""

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
                f"data: {constant[0]!r} has one and the same value in all {len(targets):,} training sequences; "
                "there is nothing to learn: set a larger data.train_size"
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
        """Return the targets of a split, ``(N, K)``, in the data's own units."""
        _ = self.prepared.splits[split]  # which says why, where it is locked
        return self._values[split]

    def references(self) -> dict[str, Scores]:
        """The training split's mean for every sequence, and each of ``predictions``, scored on the reported split."""
        truth = self.values(self.reported_split)
        named = {"mean": np.asarray(self.spec.mean), **self.predictions()}
        scores = {
            name: regression_scores(np.broadcast_to(prediction, truth.shape), truth, spec=self.spec)
            for name, prediction in named.items()
        }
        return {metric: {name: score[metric] for name, score in scores.items()} for metric in scores["mean"]}


def scaled(samples: TensorSamples, spec: DataSpec) -> TensorSamples:
    """Return samples with their targets as z-scores, scaled in double precision and held in single."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (spec.mean, spec.std))
    return TensorSamples(samples.inputs, ((samples.targets - mean) / std).float(), samples.lengths)
