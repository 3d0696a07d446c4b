"""What a language model shows: what it writes."""

from __future__ import annotations

from cellstate.model import LanguageModel
from cellstate.report.material import Material, Sample, Section

TEMPERATURES = (0.5, 0.8, 1.0)
LENGTH = 300  # symbols


def section(material: Material) -> Section:
    """Return a text for each temperature."""
    model = material.model
    assert isinstance(model, LanguageModel)
    samples = [
        Sample(f"temperature {temperature}", model.generate(length=LENGTH, temperature=temperature))
        for temperature in TEMPERATURES
    ]
    return Section("What it writes", samples=samples)
