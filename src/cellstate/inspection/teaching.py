"""An LSTM of three units with hand-written weights, in which every number can be explained.

It predicts whether the first of ten bits was 1. With bits x in {0, 1} and the logistic function s, its units are:

    latch    stores the first bit: i = s(8 - 24 h_begun) is open until a step has been read, f = s(8) keeps the cell,
             g = tanh(5 x - 2.5) is +1 for a 1 and -1 for a 0
    begun    signals that a step has been read: f = s(8), i = s(8), g = tanh(4), so that its c counts the steps
    newest   stores only the newest bit: f = s(-8) forgets at once, i = s(8), g = tanh(5 x - 2.5)

All output gates are s(6), which exposes the cells. The head reads only the latch: logit 6 h_latch for 1, -6 h_latch
for 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellstate.backbone import LSTM
from cellstate.data.batch import Batch, DataSpec
from cellstate.inspection.sequences import MEMORY_ROWS, Sequences
from cellstate.model import Classifier

UNITS = ("latch", "begun", "newest")
STEPS = 10
GATES = {  # gate -> for each unit: weight of x, weights of h (latch, begun, newest), bias; gates in torch's order
    "input": ((0, (0, -24, 0), 8), (0, (0, 0, 0), 8), (0, (0, 0, 0), 8)),
    "forget": ((0, (0, 0, 0), 8), (0, (0, 0, 0), 8), (0, (0, 0, 0), -8)),
    "candidate": ((5, (0, 0, 0), -2.5), (0, (0, 0, 0), 4), (5, (0, 0, 0), -2.5)),
    "output": ((0, (0, 0, 0), 6), (0, (0, 0, 0), 6), (0, (0, 0, 0), 6)),
}


def three_units() -> Classifier:
    """Return the network as a bit classifier."""
    spec = DataSpec(input_size=1, input_values=(0.0, 1.0), classes=("first was 0", "first was 1"))
    model = Classifier(spec, lambda input_size: LSTM(input_size, 3))
    rows = [unit for gate in GATES.values() for unit in gate]
    weights = {
        "weight_ih_l0": [[of_x] for of_x, _, _ in rows],
        "weight_hh_l0": [of_h for _, of_h, _ in rows],
        "bias_ih_l0": [bias for _, _, bias in rows],
        "bias_hh_l0": [0.0] * len(rows),
    }
    network: LSTM = model.backbone  # type: ignore[assignment]
    network.network.load_state_dict({name: torch.tensor(values).float() for name, values in weights.items()})
    model.head.load_state_dict({"weight": torch.tensor([[-6.0, 0, 0], [6.0, 0, 0]]), "bias": torch.zeros(2)})
    return model.eval()


def random_bits(count: int, seed: int) -> Sequences:
    """Return sequences of ten random bits; the target is the first."""
    rows = max(count, MEMORY_ROWS)
    bits = torch.randint(0, 2, (rows, STEPS), generator=torch.Generator().manual_seed(seed))
    inputs: Tensor = bits.unsqueeze(-1).float()
    keys = tuple(f"bits {''.join(map(str, row))}" for row in bits.tolist())
    source = f"{count:,} sequences of {STEPS} random bits, drawn with seed {seed}"
    return Sequences(Batch(inputs, bits[:, 0]), count, source, keys)
