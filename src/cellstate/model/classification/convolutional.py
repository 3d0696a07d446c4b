"""A sequence classifier with a recurrent network on top of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cellstate.config.types import NonNegativeFloat, PositiveInt, Probability, Share
from cellstate.data.batch import Batch, DataSpec
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.classification.augmentation import Augmentation
from cellstate.model.classification.base import SequenceClassifier
from cellstate.model.classification.kernels import FixedKernels
from cellstate.model.classification.normalisation import View, Views
from cellstate.model.classification.stem import ConvolutionalStem
from cellstate.model.pooling import PoolingKind, padded_steps


class ConvolutionalClassifier(SequenceClassifier):
    """Convolutions detect shapes, a recurrent network models their order, and a linear head combines both.

    Similar to LSTM-FCN (Karim et al., 2018), but the recurrent network reads the output of the convolutions instead of
    the input, and a second head uses features that are not learned:

        sequence -> augmentation -> views -> convolutional stem -> backbone -> pooling -> head
                                      |              |                                   |
                                      |              +----- mean over time, per block ---+
                                      +----> fixed kernels -> kernel head

    The loss is the mean of the cross-entropies of both heads, so that each is trained as if alone. The prediction is
    the normalised geometric mean of their probabilities.

    Args:
        spec: classes, input size, and steps of the longest training sequence.
        backbone: called with ``input_size``, the channels of the stem.
        views: forms of the sequence that are read: ``values``, ``standardised``, ``differences``; see ``Views``.
        channels: of each block of the stem.
        kernel_sizes: of each block: an odd number, or several, among which the channels are divided.
        most_steps: maximum number of steps for the backbone; longer sequences are pooled in the stem.
        fixed_kernels: whether to add a second head on the features of fixed kernels; see ``FixedKernels``.
        pooling: of the backbone's outputs; see ``Pooling``.
        jitter, scale, time_warp, window_slice, augmented: data augmentation; see ``Augmentation``.
        dropout: before each head, during training.
        label_smoothing: of the training targets, over all classes (Szegedy et al., 2016).
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.

    Raises:
        RequestError: an unknown view, or channels and kernel sizes that do not match.
    """

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        views: Sequence[View] = ("values", "standardised", "differences"),
        channels: Sequence[PositiveInt] = (64, 128, 64),
        kernel_sizes: Sequence[PositiveInt | Sequence[PositiveInt]] = (9, 5, 3),
        most_steps: PositiveInt = 100,
        fixed_kernels: bool = True,
        pooling: PoolingKind = "max",
        jitter: NonNegativeFloat = 0.0,
        scale: NonNegativeFloat = 0.0,
        time_warp: NonNegativeFloat = 0.0,
        window_slice: Probability = 0.0,
        augmented: Share = 1.0,
        dropout: Probability = 0.0,
        label_smoothing: Probability = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        seen = Views(spec.input_size, views)
        stem = ConvolutionalStem(seen.output_size, channels, kernel_sizes, steps=spec.longest, most_steps=most_steps)
        super().__init__(
            spec,
            backbone,
            len(spec.classes),
            input_size=stem.output_size,
            beside=stem.mean_size,
            pooling=pooling,
            dropout=dropout,
            optimizer=optimizer,
            scheduler=scheduler,
        )
        self.augmentation = Augmentation(
            jitter=jitter, scale=scale, time_warp=time_warp, window_slice=window_slice, augmented=augmented
        )
        self.views, self.stem = seen, stem
        self.kernels = FixedKernels(spec.input_size, len(views), spec.longest) if fixed_kernels else None
        self.kernel_head = None if self.kernels is None else nn.Linear(self.kernels.output_size, len(spec.classes))
        self.stride, self.label_smoothing = stem.stride, label_smoothing

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits ``(B, K)`` for sequences ``(B, T, F)``: the mean of the heads' log-probabilities."""
        return self.by_head(inputs, lengths).log_softmax(-1).mean(0)

    def by_head(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits of each head, ``(1 or 2, B, K)``."""
        views, padding = self._views(self.augmentation(inputs, lengths), lengths)
        logits = [self.head(self.dropout(self._vector(views, lengths)))]
        if self.kernels is not None and self.kernel_head is not None:
            logits.append(self.kernel_head(self.dropout(self.kernels(views, padding))))
        return torch.stack(logits)

    def compute_output(self, batch: Batch) -> Tensor:
        """Return logits: in training those of each head, ``(1 or 2, B, K)``, otherwise ``(B, K)``."""
        if self.training:
            return self.by_head(batch.inputs, batch.lengths)
        return super().compute_output(batch)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the cross-entropy in nats per sample, in training the mean over the heads, with smoothed targets."""
        if output.ndim == 2:
            return super().loss(output, batch)
        return torch.stack([super(ConvolutionalClassifier, self).loss(one, batch) for one in output]).mean()

    def vector(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the pooled outputs of the backbone, concatenated with the means of the stem, ``(B, D)``."""
        return self._vector(self._views(inputs, lengths)[0], lengths)

    def read(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the outputs of the backbone, ``(B, S, D)``, and the valid steps of each row, None if all are."""
        found, steps, _ = self.stem(self._views(inputs, lengths)[0], lengths)
        return self.backbone(found, lengths=steps)[0], steps

    def _vector(self, views: Tensor, lengths: Tensor | None) -> Tensor:
        found, steps, means = self.stem(views, lengths)
        outputs, _ = self.backbone(found, lengths=steps)
        return torch.cat((self.pooling(outputs, steps), means), dim=-1)

    def _views(self, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the views ``(B, T, C)``, 0 on the padding, and the padding ``(B, T, 1)``."""
        padding = None if lengths is None else padded_steps(inputs, lengths)
        return self.views(inputs, padding), padding
