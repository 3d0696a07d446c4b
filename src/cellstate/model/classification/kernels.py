"""Features of fixed convolution kernels: how often each of them responds, anywhere in the sequence."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LENGTH, HIGH = 9, 3  # weights of a kernel, and number of weights 2; the others are -1
KERNELS = 84  # (9 choose 3)
MOST_DILATIONS = 8
QUANTILES = (-0.6745, 0.0, 0.6745)  # of a normal distribution: 0.25, 0.5, 0.75
GAIN = 4  # root mean square of all features of a sequence: with 1, a head learns more slowly than the other
MOST_MIXED = 9  # input features per kernel


class FixedKernels(nn.Module):
    """Proportion of positive values of the 84 kernels of MiniRocket (Dempster, Schmidt & Webb, 2021).

    Each has nine weights, three of them 2 and six -1, so that they sum to 0, and is applied at dilations 1, 2, 4 ...
    as long as it fits into the longest sequence. A feature is the proportion of valid steps whose response exceeds a
    threshold: the mean of all training responses, plus -0.67, 0 or 0.67 standard deviations, the quartiles of a normal
    distribution. (MiniRocket uses quantiles of single training sequences instead.)

    There are no gradients. The view and the features that a kernel reads are drawn once, equally for all networks of
    the same sizes.

    Args:
        features: per view.
        views: their number.
        steps: length of the longest sequence; 0: unknown, only dilation 1 is used.
    """

    weights: Tensor

    def __init__(self, features: int, views: int, steps: int) -> None:
        super().__init__()
        fitting = [2**power for power in range(32) if 2**power * (LENGTH - 1) < steps] or [1]
        places = np.linspace(0, len(fitting) - 1, min(len(fitting), MOST_DILATIONS)).round().astype(int)
        self.dilations = tuple(fitting[place] for place in places)
        weights = np.stack([kernel_weights(features, views, turn) for turn in range(len(self.dilations))])
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)
        self.responses = nn.ModuleList(RunningScale(KERNELS) for _ in self.dilations)
        self.output_size = KERNELS * len(self.dilations) * len(QUANTILES)
        self.scale = RunningScale(self.output_size)

    @torch.no_grad()
    def forward(self, inputs: Tensor, padding: Tensor | None = None) -> Tensor:
        """Return features ``(B, output_size)``, standardised, times GAIN / sqrt(output_size).

        Args:
            inputs: ``(B, T, views * F)``, 0 on the padding.
            padding: ``(B, T, 1)`` bool, or None.
        """
        sequences = inputs.to(self.weights.dtype).transpose(1, 2)
        weight = torch.ones_like(sequences[:, :1]) if padding is None else (~padding).transpose(1, 2).to(sequences)
        count = weight.sum(2)
        shares = []
        for number, (dilation, responses) in enumerate(zip(self.dilations, self.responses, strict=True)):
            reach = dilation * (LENGTH - 1) // 2
            found = functional.conv1d(sequences, self.weights[number], padding=reach, dilation=dilation)
            mean, deviation = responses(*moments(found, weight))
            for quantile in QUANTILES:
                above = found > (mean + quantile * deviation).unsqueeze(-1)
                shares.append(torch.linalg.vecdot(above.to(weight), weight) / count)
        joined = torch.cat(shares, dim=1)
        mean, deviation = self.scale(joined.mean(0), joined.square().mean(0))
        return (joined - mean) / (deviation + 0.01) * (GAIN / self.output_size**0.5)


class RunningScale(nn.Module):
    """Mean and standard deviation of C numbers over all training batches so far, with equal weights."""

    mean: Tensor
    square: Tensor
    batches: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """In training, add the means of a batch and of its squares; return mean and standard deviation."""
        if self.training:
            self.batches += 1
            self.mean.lerp_(mean, 1 / self.batches)
            self.square.lerp_(square, 1 / self.batches)
        return self.mean, (self.square - self.mean.square()).clamp(min=0).sqrt()


def moments(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means ``(C,)`` of values ``(B, C, T)`` and of their squares over steps with weight 1."""
    total = weight.sum()
    return (values * weight).sum((0, 2)) / total, (values.square() * weight).sum((0, 2)) / total


def kernel_weights(features: int, views: int, turn: int) -> np.ndarray:
    """Return the weights ``(84, views * F, 9)`` of one dilation: kernel k reads view (k + turn) modulo ``views``.

    It sums over 1 to 9 of the F features, a number drawn from a log-uniform distribution.
    """
    random = np.random.default_rng((turn, features))
    weights = np.zeros((KERNELS, views, features, LENGTH), np.float32)
    for number, high in enumerate(itertools.combinations(range(LENGTH), HIGH)):
        kernel = np.full(LENGTH, -1, np.float32)
        kernel[list(high)] = 2
        count = int(2 ** random.uniform(0, np.log2(min(features, MOST_MIXED) + 1)))
        weights[number, (number + turn) % views, random.permutation(features)[:count]] = kernel
    return weights.reshape(KERNELS, views * features, LENGTH)
