"""Base class of the layers: parameters named by gate, and their conversion from and to torch's layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


def derived_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a hand-written backward pass reject double differentiation, which torch would treat as zero."""

    @wraps(backward)
    def checked(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the transparent networks have hand-written first derivatives and no second ones: remove "
                "create_graph=True, or use the same network on torch's kernels (cellstate.backbone.transparent.fast)"
            )
        return backward(ctx, *gradients)

    return checked


class Layer(nn.Module, ABC):
    """One layer in one direction: ``W_g (H, F)``, ``U_g (H, H)`` and ``b_g (H,)`` for every gate g.

    Args:
        input_size: F, features per step.
        hidden_size: H, units.
    """

    gates: tuple[str, ...]
    """The letters of the gates, in torch's order."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        for gate in self.gates:
            self.register_parameter(f"W_{gate}", nn.Parameter(torch.zeros(hidden_size, input_size)))
            self.register_parameter(f"U_{gate}", nn.Parameter(torch.zeros(hidden_size, hidden_size)))
            self.register_parameter(f"b_{gate}", nn.Parameter(torch.zeros(hidden_size)))

    @abstractmethod
    def forward(self, inputs: Tensor, state: State, padding: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over ``inputs (T, B, F)``, time first, from ``state``, tensors ``(B, H)``.

        Args:
            inputs: of the layer.
            state: the initial state.
            padding: ``(T, B)`` bool, true on padding, which follows each row's valid steps.

        Returns:
            Outputs ``(T, B, H)``, which on padding are meaningless and must get no gradient, and the state after step
            T; with padding, its first tensor, h, is meaningless, and the others are those after each row's last valid
            step.
        """

    def family(self, letter: str, gates: Iterable[str] | None = None) -> list[Tensor]:
        """Return the parameters ``W``, ``U`` or ``b`` of these gates, in their order; None: of all in torch's order."""
        return [getattr(self, f"{letter}_{gate}") for gate in gates or self.gates]

    @torch.no_grad()
    def load_torch(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        """Copy the weights ``(gates * H, ...)`` of a torch layer; of its two biases only the sum matters."""
        for letter, stacked in (("W", weight_ih), ("U", weight_hh), ("b", bias_ih + bias_hh)):
            for own, given in zip(self.family(letter), stacked.split(self.hidden_size), strict=True):
                own.copy_(given)

    @torch.no_grad()
    def torch_parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ``weight_ih, weight_hh, bias_ih, bias_hh`` of the same layer in torch; where ``bias_hh`` is zero."""
        bias = torch.cat(self.family("b"))
        return torch.cat(self.family("W")), torch.cat(self.family("U")), bias, torch.zeros_like(bias)


def sequence_gradients(delta: Tensor, inputs: Tensor, weight: Tensor, *, wanted: bool) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of ``inputs (T, B, F)`` (None if not ``wanted``) and ``weight (G, F)``, one product each.

    With a_t = W x_t + ... and delta_t = dL/da_t, ``(T, B, G)``:

        dL/dx_t = W' delta_t,   dL/dW = sum over steps and rows of delta_t x_t'
    """
    rows = delta.flatten(0, 1)
    back = (rows @ weight).view(*delta.shape[:2], -1) if wanted else None
    return back, rows.t() @ inputs.reshape(len(rows), -1)
