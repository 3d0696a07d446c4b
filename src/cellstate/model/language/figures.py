"""What a language model shows: what it writes, what surprises it, and how much it gains from what came before."""

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
PROMPT = 80  # symbols of the text that a sample goes on from
PASSAGE = 700  # symbols that are shaded, after ``WARM`` that are only read
WARM = 200
LEVELS = (0.5, 1.0, 2.0, 4.0, 7.0)  # bits at which the next level of surprise begins


def section(material: Material) -> Section:
    """Return a text for each temperature, a text of the split by surprise, and the bits by position."""
    model = material.model
    assert isinstance(model, LanguageModel)
    prompt, came = beginning(material)
    samples = [
        Sample(
            f"temperature {temperature}", model.generate(prompt or None, length=LENGTH, temperature=temperature), prompt
        )
        for temperature in TEMPERATURES
    ]
    if not prompt:
        return Section("What it writes", samples=samples)
    samples.append(Sample("the text itself", came, prompt))
    found = positions.collect(material)
    drawing = Drawing(
        "bits_by_position",
        f"{found.windows:,} pieces of the {material.split} split, evenly spaced, each read with an empty memory: how "
        "much the model gains from what came before. The band holds the mean with 95 % confidence. Dashed: predictors "
        "that need no network, which know as many symbols as they say.",
        lambda theme: positions.draw(theme, found, material.reference("bpc"), split=material.split),
    )
    return Section("What it writes", [drawing], samples=samples, passages=[surprise(material)])


def tables(material: Material) -> dict[str, Rows]:
    """Return what a language model writes at each temperature."""
    model = material.model
    assert isinstance(model, LanguageModel)
    written = [(heat, model.generate(length=LENGTH, temperature=heat)) for heat in TEMPERATURES]
    return {"samples": [{"temperature": heat, "text": text} for heat, text in written]}


def beginning(material: Material) -> tuple[str, str]:
    """Return a piece of the reported split to go on from, and what follows it there; nothing where it is no text.

    The piece is the first line with something in it after a third of the split, so that no text is chosen by hand.
    """
    samples, symbols = material.data.prepared.splits[material.split], material.data.spec.vocabulary
    if not isinstance(samples, TextSamples):
        return "", ""
    start = next(lines(samples.tokens, symbols, len(samples.tokens) // 3))
    text = "".join(symbols[token] for token in samples.tokens[start : start + PROMPT + LENGTH].tolist())
    cut = min(PROMPT, (len(text) + 1) // 2)
    return text[:cut], text[cut:]


def lines(tokens: Tensor, symbols: tuple[str, ...], after: int) -> Iterator[int]:
    """Yield where lines begin that are not blank, from ``after`` on; last of all ``after`` itself."""
    text = "".join(symbols[token] for token in tokens[after : after + 5000].tolist())
    place = text.find("\n") + 1
    while 0 < place < len(text):
        if text[place : place + PROMPT].strip():
            yield after + place
        place = text.find("\n", place) + 1
    yield after


def surprise(material: Material) -> Passage:
    """Return a piece of the reported split, shaded by the bits that each symbol cost."""
    samples, symbols = material.data.prepared.splits[material.split], material.data.spec.vocabulary
    assert isinstance(samples, TextSamples)
    start = next(lines(samples.tokens, symbols, len(samples.tokens) // 2))
    tokens = samples.tokens[max(0, start - WARM) : start + PASSAGE]
    bits = positions.bits_of(material, tokens.unsqueeze(0).long())[0]
    skipped = min(WARM, start)
    shown = tokens[skipped or 1 :].tolist()  # the very first symbol of all is no target
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
        f"What surprises it, {material.split} split",
        f"A piece of the text, each symbol shaded by how many bits it cost, given all before it: {mean:.2f} in the "
        f"mean. A symbol of 1 bit was given the probability 1/2, one of 7 bits 1/128.",
        [f"under {LEVELS[0]:g}", *(f"{bound:g} bits" for bound in LEVELS[:-1]), f"{LEVELS[-1]:g} and more"],
        parts,
    )
