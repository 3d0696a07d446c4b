"""Constrained number types for constructor arguments.

The constraints are part of the annotations, so that an entire config can be checked against signatures before anything
is built, and all problems reported at once. Imports only pydantic.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0)]
Layers = Annotated[int, Field(gt=0, le=1000)]  # built in a loop: a typo of a few zeros would take hours
Length = Annotated[int, Field(gt=0, le=100_000)]  # steps of a generated sequence; likewise
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]  # below 1, as for dropout
Share = Annotated[float, Field(ge=0, le=1)]  # of a whole, such as a probability
Fraction = Annotated[float, Field(gt=0, lt=1)]  # such as a share of the samples
