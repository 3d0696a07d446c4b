"""What a forecaster reads of the static features of a series: numbers as they are, embeddings of categories and ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cellstate.data.batch import DataSpec
from cellstate.errors import RequestError

WIDEST = 50  # embedding that is chosen by the number of categories


class StaticFeatures(nn.Module):
    """Numbers, and embeddings of categories and ids; of one not seen in training the mean of all embeddings.

    Args:
        spec: with the features, ``static``, ``categories`` and ``ids``.
        embedding: size of the embedding of a category; None: round(1.6 n^0.56) for n categories, at most 50 (the rule
            of the library fastai).
        id_embedding: size of the embedding of the series itself; 0: none.

    Raises:
        RequestError: the data has no ids of several series.
    """

    def __init__(self, spec: DataSpec, embedding: int | None, id_embedding: int) -> None:
        super().__init__()
        if id_embedding and not spec.ids:
            raise RequestError(
                f"model.id_embedding={id_embedding}: the data does not have the ids of several series; set it to 0"
            )
        sizes = [(len(categories), embedding or usual_size(len(categories))) for categories in spec.categories]
        if spec.ids:
            sizes.append((len(spec.ids), id_embedding))
        # None: a number, or an id that is not read.
        self.tables = nn.ModuleList(nn.Embedding(*size) if all(size) else nn.Identity() for size in sizes)
        self.columns = [at for at, (_, width) in enumerate(sizes) if width or at < len(spec.categories)]
        self.output_size = sum(
            table.embedding_dim if isinstance(table, nn.Embedding) else 1
            for table in (self.tables[at] for at in self.columns)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(B, output_size)`` of the features ``(B, n)`` of a step, see ``data.static``."""
        parts = []
        for at in self.columns:
            table, column = self.tables[at], features[:, at]
            parts.append(embedded(table, column) if isinstance(table, nn.Embedding) else column[:, None])
        return torch.cat(parts, dim=1)


def embedded(table: nn.Embedding, places: Tensor) -> Tensor:
    """Return the embeddings ``(B, E)`` of ``places (B,)``, of one outside the table the mean of all."""
    rows = torch.cat((table.weight, table.weight.mean(0, keepdim=True)))
    known = (places >= 0) & (places < table.num_embeddings)
    return rows[places.round().long().where(known, table.num_embeddings)]


def usual_size(categories: int) -> int:
    """Return the size of an embedding for so many categories; 0 for a number, which has none."""
    return min(round(1.6 * categories**0.56), WIDEST, categories)
