"""A backbone of whose equations nothing is known, opened: held against the same network with known equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cellstate.backbone import GRU, LSTM, Backbone, State
from cellstate.inspection.analysis import gradient_flow, open_states


class Wrapped(Backbone):
    """A network of cellstate's that does not look like one."""

    def __init__(self, inner: Backbone) -> None:
        super().__init__()
        self.inner = inner
        self.input_size, self.output_size = inner.input_size, inner.output_size
        self.state_size, self.bidirectional = inner.state_size, inner.bidirectional

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        return self.inner(inputs, state, lengths)

    def initial_state(self, batch_size: int) -> State:
        return self.inner.initial_state(batch_size)


class Projected(Wrapped):
    """Its outputs are not its state."""

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        outputs, state = super().forward(inputs, state, lengths)
        return outputs * 2, state


@pytest.mark.parametrize("lengths", [None, [7, 3, 5]])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_states_and_gradients_are_those_of_the_known_equations(
    kind: type[GRU] | type[LSTM], layers: int, lengths: list[int] | None
) -> None:
    torch.manual_seed(0)
    network = kind(3, 5, num_layers=layers, dropout=0.5 if layers > 1 else 0.0).double().train()
    inputs, gradient = torch.randn(3, 7, 3).double(), torch.randn(3, 7, 5).double()
    valid = None if lengths is None else torch.tensor(lengths)
    start = tuple(torch.randn_like(part) for part in network.initial_state(3))
    known = open_states(network, inputs, start, valid)
    own = open_states(Wrapped(network), inputs, start, valid)
    torch.testing.assert_close(own.layers[0].h, known.layers[-1].h)
    torch.testing.assert_close(own.outputs, known.outputs)
    assert torch.equal(own.valid, known.valid)
    flow, right = gradient_flow(own, gradient), gradient_flow(known, gradient)
    torch.testing.assert_close(flow.layers[0].hidden, right.layers[-1].hidden)
    torch.testing.assert_close(flow.inputs, right.inputs)
    assert network.training, "it is left as it was"


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (Projected(GRU(3, 5)), "the outputs of Projected are not the hidden states of its top layer"),
        (Wrapped(GRU(3, 5, bidirectional=True)), "Wrapped is bidirectional"),
    ],
)
def test_what_cannot_be_told_without_equations_is_refused(network: Backbone, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_states(network, torch.randn(3, 7, 3))


def test_a_module_that_is_no_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be converted"):
        open_states(nn.Linear(3, 5), torch.randn(3, 7, 3))
