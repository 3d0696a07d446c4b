"""A convolutional stem below a recurrent network, which then reads shapes instead of single values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellstate.errors import RequestError
from cellstate.model.pooling import padded_steps


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy, 2015) over valid steps only: padding does not affect mean and variance."""

    def forward(self, inputs: Tensor, padding: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return ``(B, C, T)``, 0 on the padding; ``padding (B, 1, T)`` bool, or None."""
        if padding is None:
            return self._of(inputs)
        if not self.training:
            return super().forward(inputs).masked_fill(padding, 0)
        valid = ~padding.squeeze(1)
        result = torch.zeros_like(inputs.transpose(1, 2))
        result[valid] = self._of(inputs.transpose(1, 2)[valid])
        return result.transpose(1, 2)

    def _of(self, inputs: Tensor) -> Tensor:
        """Return ``(B, C, T)`` or ``(N, C)`` normalised; for a single step, with the running statistics."""
        if self.training and inputs.numel() == inputs.shape[1]:
            return functional.batch_norm(
                inputs, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(inputs)


class ConvolutionBlock(nn.Module):
    """Parallel convolutions, batch normalisation, ReLU, and max pooling over time.

    The channels are divided among kernels of several sizes, as in InceptionTime (Ismail Fawaz et al., 2020); with one
    size it is a block of the fully convolutional network of Wang, Yan & Oates (2017).

    Args:
        input_size: input channels.
        output_size: output channels.
        kernel_sizes: of the convolutions, odd numbers.
        pool: steps per pooling window.
    """

    def __init__(self, input_size: int, output_size: int, kernel_sizes: Sequence[int], pool: int) -> None:
        super().__init__()
        shares = [output_size // len(kernel_sizes)] * len(kernel_sizes)
        shares[0] += output_size - sum(shares)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(input_size, share, size, padding=size // 2, bias=False)
            for share, size in zip(shares, kernel_sizes, strict=True)
        )
        self.norm = MaskedBatchNorm(output_size)
        self.pool = pool

    def forward(self, inputs: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Process inputs ``(B, F, T)`` that are 0 on the padding ``(B, 1, T)``, None without padding.

        Returns:
            outputs ``(B, C, ceil(T / pool))``, 0 on the padding; the padding of the outputs; and the mean over valid
            steps before pooling, ``(B, C)``.
        """
        found = [convolution(inputs) for convolution in self.convolutions]
        outputs = functional.relu(self.norm(found[0] if len(found) == 1 else torch.cat(found, dim=1), padding))
        mean = outputs.mean(2) if padding is None else outputs.sum(2) / (~padding).sum(2)
        if self.pool > 1:
            # After ReLU, the zeros of the padding never exceed a valid value.
            rest = -outputs.shape[2] % self.pool
            outputs = functional.max_pool1d(functional.pad(outputs, (0, rest)), self.pool)
            padding = None if padding is None else padding[:, :, :: self.pool]
        return outputs, padding, mean


class ConvolutionalStem(nn.Module):
    """Blocks of convolutions, whose output a recurrent network reads.

    Args:
        input_size: features per step.
        channels: of each block.
        kernel_sizes: of each block, an odd number or several.
        steps: length of the longest sequence; 0: unknown, no pooling.
        most_steps: maximum length of the output; blocks pool by 2, starting with the first, until it is reached.

    Attributes:
        stride: input steps per output step.

    Raises:
        RequestError: the lists differ in length, or a kernel size is even.
    """

    def __init__(
        self,
        input_size: int,
        channels: Sequence[int],
        kernel_sizes: Sequence[int | Sequence[int]],
        *,
        steps: int,
        most_steps: int,
    ) -> None:
        super().__init__()
        sizes = [(size,) if isinstance(size, int) else tuple(size) for size in kernel_sizes]
        if len(channels) != len(sizes) or not sizes:
            raise RequestError(
                f"model.channels={list(channels)}, model.kernel_sizes={list(kernel_sizes)}: should be lists of "
                "the same length, at least 1"
            )
        for count, several in zip(channels, sizes, strict=True):
            if not several or any(size < 1 or size % 2 == 0 for size in several):
                raise RequestError(f"model.kernel_sizes={list(kernel_sizes)}: should be odd numbers above 0")
            if count < len(several):
                raise RequestError(f"model.channels={list(channels)}: {count} are too few for {len(several)} kernels")
        pools = pooling_of(len(sizes), steps, most_steps)
        widths = [input_size, *channels]
        self.blocks = nn.ModuleList(map(ConvolutionBlock, widths, channels, sizes, pools))
        self.output_size, self.mean_size = channels[-1], sum(channels)
        self.stride = 2 ** sum(pool.bit_length() - 1 for pool in pools)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Process inputs ``(B, T, F)`` that are 0 on the padding.

        Returns:
            outputs ``(B, ceil(T / stride), C)``, 0 on the padding; the valid steps of each row, None if all are; and
            the mean over time of the output of each block, ``(B, mean_size)``.
        """
        outputs = inputs.transpose(1, 2)
        padding = None if lengths is None else padded_steps(inputs, lengths).transpose(1, 2)
        means = []
        for block in self.blocks:
            outputs, padding, mean = block(outputs, padding)
            means.append(mean)
        left = None if lengths is None else -(-lengths // self.stride)
        return outputs.transpose(1, 2), left, torch.cat(means, dim=1)


def pooling_of(blocks: int, steps: int, most_steps: int) -> list[int]:
    """Return the pooling of each block, powers of 2, that reduces ``steps`` to at most ``most_steps``."""
    pools, stride = [1] * blocks, 1
    while -(-steps // stride) > most_steps:
        at = (stride.bit_length() - 1) % blocks
        pools[at], stride = pools[at] * 2, stride * 2
    return pools
