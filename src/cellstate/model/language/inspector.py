"""Support of ``cellstate inspect`` for language models."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cellstate.data.batch import UNKNOWN
from cellstate.data.files.corpus import find_corpus
from cellstate.model.inspector.answers import readable
from cellstate.model.inspector.every_step import EveryStepInspector
from cellstate.model.inspector.inspector import FileText

if TYPE_CHECKING:
    from cellstate.model.language.model import LanguageModel

UNKNOWN_NAMED = 6  # most unknown symbols that are listed


class LanguageModelInspector(EveryStepInspector):
    """A text is one long sequence, cut into pieces that are each read from the initial state."""

    model: LanguageModel
    reads_text = True

    def read_text(self, path: str) -> FileText:
        """Return a text; unknown symbols are mapped to the unknown symbol, which is the first."""
        index = {symbol: number for number, symbol in enumerate(self.model.spec.vocabulary)}
        corpus = find_corpus(path, "*", "\n")
        text = "".join(map(chr, np.concatenate(list(corpus.pieces()) or [np.zeros(0, int)]).tolist()))
        known = index.keys() - {UNKNOWN}
        return FileText(
            torch.tensor([index.get(symbol, 0) for symbol in text], dtype=torch.long),
            unknown_in_words(Counter(symbol for symbol in text if symbol not in known), len(text)),
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embedding of each token."""
        return self.model.embedding(tokens)


def unknown_in_words(counts: Counter[str], length: int) -> str:
    """Return a description of the number and kind of unknown symbols in a text; empty if there are none."""
    if not counts:
        return ""
    total = counts.total()
    named = [f"{readable(symbol)} ({times:,})" for symbol, times in counts.most_common(UNKNOWN_NAMED)]
    more = f" and {len(counts) - UNKNOWN_NAMED:,} others" if len(counts) > UNKNOWN_NAMED else ""
    return (
        f"{total:,} of {length:,} characters, {100 * total / length:.3g} %, do not occur in the training text and "
        f"are read as the unknown symbol: {', '.join(named)}{more}"
    )
