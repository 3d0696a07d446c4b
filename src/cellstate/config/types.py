"""Constrained number types for constructor arguments.

The constraint is part of the annotation, so that a whole config can be checked against the signatures that it
configures before anything is built, and all of its problems reported at once. Imports nothing but pydantic.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0)]
Layers = Annotated[int, Field(gt=0, le=1000)]  # each is built in a loop: a slip of a few zeros would take hours
Length = Annotated[int, Field(gt=0, le=100_000)]  # steps of a drawn sequence; likewise
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]  # of something that must not be certain, such as dropout
Share = Annotated[float, Field(ge=0, le=1)]  # of a whole, such as a probability that may be certain
Fraction = Annotated[float, Field(gt=0, lt=1)]  # a true part of a whole, such as a share of the samples
