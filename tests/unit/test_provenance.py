"""What a record says of where numbers come from, and what of it is named as a cause of a difference."""

from __future__ import annotations

import pytest
import torch

from cellstate.runs.provenance import differences, provenance


def test_the_build_of_torch_is_recorded_as_it_decides_bits() -> None:
    recorded = provenance()["versions"]["torch"]
    assert (type(recorded), recorded) == (str, torch.__version__)


@pytest.mark.parametrize(
    ("then", "now", "differs"),
    [
        ("2.13.0+cu130", "2.13.0+cu130", False),
        ("2.13.0+cpu", "2.13.0+cu130", True),
        ("2.12.1", "2.13.0+cu130", True),
        ("2.13.0", "2.13.0+cu130", False),  # recorded without its build, which may have been any
        ("2.13.0+cu130", "2.13.0", True),
        (2.13, "2.13.0", True),
        ([], "2.13.0+cpu", True),
    ],
)
def test_versions_are_compared_as_far_as_they_were_recorded(then: object, now: str, differs: bool) -> None:
    found = list(differences({"versions": {"torch": then}}, {"versions": {"torch": now}, "machine": {}}))
    assert found == ([f"different torch ({then} recorded, {now} now)"] if differs else [])
