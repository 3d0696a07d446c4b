"""Figures of a language model: generated samples, information content of a passage, bits by position."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from cellstate.data.files.text import TextSamples
from cellstate.model import LanguageModel
from cellstate.model.language import positions
from cellstate.model.material import Material, Rows
from cellstate.plotting.parts import Drawing, Passage, Sample, Section

TEMPERATURES = (0.5, 0.8, 1.0)
LENGTH = 300  # symbols
PROMPT = 80  # symbols of the prompt of a sample
PASSAGE = 700  # symbols that are shaded, after ``WARM`` symbols of context
WARM = 200
LEVELS = (0.5, 1.0, 2.0, 4.0, 7.0)  # lower bounds in bits of the levels of shading


def section(material: Material) -> Section:
    """Return a sample for each temperature, a shaded passage of the split, and the bits by position."""
    model = material.model
    assert isinstance(model, LanguageModel)
    prompt, continuation = beginning(material)
    samples = [
        Sample(
            f"temperature {temperature}", model.generate(prompt or None, length=LENGTH, temperature=temperature), prompt
        )
        for temperature in TEMPERATURES
    ]
    if not prompt:
        return Section("Samples", samples=samples)
    samples.append(Sample("original text", continuation, prompt))
    found = positions.collect(material)
    drawing = Drawing(
        "bits_by_position",
        f"{found.windows:,} pieces of the {material.split} split, evenly spaced, each read from the initial state: "
        "how predictions improve with context. The band is the 95 % confidence interval of the mean. Dashed: baselines "
        "without a network.",
        lambda theme: positions.draw(theme, found, material.reference("bpc"), split=material.split),
    )
    return Section("Samples", [drawing], samples=samples, passages=[surprise(material)])


def tables(material: Material) -> dict[str, Rows]:
    """Return generated samples at each temperature."""
    model = material.model
    assert isinstance(model, LanguageModel)
    written = [(heat, model.generate(length=LENGTH, temperature=heat)) for heat in TEMPERATURES]
    return {"samples": [{"temperature": heat, "text": text} for heat, text in written]}


def beginning(material: Material) -> tuple[str, str]:
    """Return a prompt from the reported split and its continuation there; empty if the split is not text.

    The prompt starts at the first non-blank line after a third of the split.
    """
    samples, symbols = material.data.prepared.splits[material.split], material.data.spec.vocabulary
    if not isinstance(samples, TextSamples):
        return "", ""
    start = next(lines(samples.tokens, symbols, len(samples.tokens) // 3))
    text = "".join(symbols[token] for token in samples.tokens[start : start + PROMPT + LENGTH].tolist())
    cut = min(PROMPT, (len(text) + 1) // 2)
    return text[:cut], text[cut:]


def lines(tokens: Tensor, symbols: tuple[str, ...], after: int) -> Iterator[int]:
    """Yield the starts of non-blank lines from ``after`` on, finally ``after`` itself."""
    text = "".join(symbols[token] for token in tokens[after : after + 5000].tolist())
    place = text.find("\n") + 1
    while 0 < place < len(text):
        if text[place : place + PROMPT].strip():
            yield after + place
        place = text.find("\n", place) + 1
    yield after


def surprise(material: Material) -> Passage:
    """Return a passage of the reported split, shaded by the information content of each symbol in bits."""
    samples, symbols = material.data.prepared.splits[material.split], material.data.spec.vocabulary
    assert isinstance(samples, TextSamples)
    start = next(lines(samples.tokens, symbols, len(samples.tokens) // 2))
    tokens = samples.tokens[max(0, start - WARM) : start + PASSAGE]
    bits = positions.bits_of(material, tokens.unsqueeze(0).long())[0]
    skipped = min(WARM, start)
    shown = tokens[skipped or 1 :].tolist()  # the first symbol of the split is not a target
    costs = bits[max(skipped, 1) - 1 :].tolist()
    parts: list[tuple[int, str]] = []
    for token, cost in zip(shown, costs, strict=True):
        level = sum(cost >= bound for bound in LEVELS)
        if parts and parts[-1][0] == level:
            parts[-1] = (level, parts[-1][1] + symbols[token])
        else:
            parts.append((level, symbols[token]))
    mean = math.fsum(costs) / max(len(costs), 1)
    return Passage(
        f"Information content, {material.split} split",
        f"A passage of the text, each symbol shaded by its information content -log2 p given the previous symbols, "
        f"{mean:.2f} bits on average. 1 bit is a probability of 1/2, 7 bits of 1/128.",
        [f"under {LEVELS[0]:g}", *(f"{bound:g} bits" for bound in LEVELS[:-1]), f"{LEVELS[-1]:g} and more"],
        parts,
    )
