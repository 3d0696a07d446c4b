"""A language model: a distribution over the next token after every token, with a carried state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cellstate.backbone import State, detach, reset_rows
from cellstate.config.types import PositiveInt, Probability
from cellstate.data.batch import Batch, DataSpec
from cellstate.errors import RequestError, UnsupportedError
from cellstate.metrics.headline import Headline
from cellstate.model.base import BackboneFactory, OptimizerFactory, SchedulerFactory
from cellstate.model.inputs import predicting
from cellstate.model.language.dropout import VariationalDropout
from cellstate.model.language.inspector import LanguageModelInspector
from cellstate.model.language.sampling import choose
from cellstate.model.tokens import TokenModel

if TYPE_CHECKING:
    import polars as pl

    from cellstate.data.datamodule import SequenceData


class LanguageModel(TokenModel):
    """Predicts the next token of a stream, trained by truncated backpropagation through time.

    The detached final state of a batch is the initial state of the next one, except in rows whose ``reset`` is set.

    Args:
        spec: the vocabulary.
        backbone: called with ``input_size``.
        embedding_size: width of the token embedding.
        tied: share the weights of output layer and embedding (Press & Wolf, 2017; Inan et al., 2017):
            ``logits = E P h + b`` with the embedding ``E (V, embedding_size)``. ``P`` is a linear projection without
            bias if the widths of the backbone's outputs and the embedding differ, else the identity.
        dropout: on the embedded tokens and the backbone's outputs, during training.
        variational_dropout: drop the same features at all steps of a batch (``VariationalDropout``); dropout between
            the layers of the backbone is not affected.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    figures = "cellstate.model.language.figures"
    headline = Headline("bpc", "bits per character", loss_unit="nats per character")
    inspector_class = LanguageModelInspector
    writes_text = True

    def __init__(
        self,
        spec: DataSpec,
        backbone: BackboneFactory,
        *,
        embedding_size: PositiveInt = 64,
        tied: bool = False,
        dropout: Probability = 0.0,
        variational_dropout: bool = False,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(spec, optimizer, scheduler)
        symbols = len(spec.vocabulary)
        self.embedding = nn.Embedding(symbols, embedding_size)
        self.backbone = backbone(input_size=embedding_size)
        if self.backbone.bidirectional:
            raise RequestError(
                "backbone.bidirectional=true: a language model must not see the token it predicts; set it to false"
            )
        self.dropout = VariationalDropout(dropout) if variational_dropout else nn.Dropout(dropout)
        width = self.backbone.output_size
        needs_projection = tied and width != embedding_size
        self.project = nn.Linear(width, embedding_size, bias=False) if needs_projection else nn.Identity()
        self.head = nn.Linear(embedding_size if tied else width, symbols)
        if tied:
            # Initialised with N(0, 1) like an embedding: with the U(-1, 1) / sqrt(embedding_size) of an output layer,
            # inputs barely differ between symbols, and only their frequencies are learned in the first epoch.
            self.head.weight = self.embedding.weight
        self._carried: dict[str, State | None] = {"train": None, "eval": None}

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits ``(B, T, V)`` of the next token after each of ``tokens (B, T)``, and the final state."""
        outputs, after = self.backbone(self.dropout(self.embedding(tokens)), state)
        return self.logits(self.dropout(outputs)), after

    def logits(self, outputs: Tensor) -> Tensor:
        """Return logits ``(..., V)`` for outputs of the backbone ``(..., D)``."""
        return self.head(self.project(outputs))

    def compute_output(self, batch: Batch) -> Tensor:
        """Return logits, continuing from the final state of the previous batch if the batch has ``reset``."""
        if batch.reset is None:
            return self(batch.inputs)[0]
        phase = "train" if self.training else "eval"
        state = self._carried[phase]
        if state is not None:
            state = reset_rows(state, batch.reset)
        logits, state = self(batch.inputs, state)
        self._carried[phase] = detach(state)
        return logits

    def training_state(self) -> dict[str, Any]:
        """Return the state of training, including the carried state."""
        carried = self._carried["train"]
        return {**super().training_state(), "carried": None if carried is None else [part.cpu() for part in carried]}

    def take_up_training(self, state: dict[str, Any]) -> None:
        """Restore the result of ``training_state``, including the position in the streams."""
        super().take_up_training(state)
        carried = state["carried"]
        self._carried["train"] = None if carried is None else tuple(carried)

    def on_train_start(self) -> None:
        """Move the carried state of a resumed run to the device of the network."""
        super().on_train_start()
        if (carried := self._carried["train"]) is not None:
            self._carried["train"] = tuple(tensor.to(self.device) for tensor in carried)

    def on_train_epoch_start(self) -> None:
        """Reset the carried state at the start of an epoch."""
        self._carried["train"] = None

    def on_validation_epoch_start(self) -> None:
        """Reset the carried state at the start of the split."""
        super().on_validation_epoch_start()
        self._carried["eval"] = None

    on_test_epoch_start = on_validation_epoch_start

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:  # noqa: ARG002
        """Raise an error: predictions of a language model are not a table."""
        raise UnsupportedError("a language model, which does not predict a table; use cellstate generate")

    # ------------------------------------------------------------------ use

    def encode(self, text: str) -> Tensor:
        """Return the token indices of a text, ``(1, T)``.

        Raises:
            RequestError: a symbol is not in the vocabulary, or the text is empty.
        """
        index = {symbol: number for number, symbol in enumerate(self.spec.vocabulary)}
        strange = sorted({symbol for symbol in text if symbol not in index})
        if strange or not text:
            what = f"contains symbols that the model does not know: {strange}" if strange else "is empty"
            known = "".join(self.spec.vocabulary[1:101]) + ("…" if len(self.spec.vocabulary) > 101 else "")
            raise RequestError(f"the prompt {what}; known symbols are {known!r}")
        return torch.tensor([[index[symbol] for symbol in text]], device=self.device)

    @predicting
    def predict(self, text: str) -> dict[str, float]:
        """Return the probability of each symbol to follow ``text``, in decreasing order."""
        logits, _ = self(self.encode(text))
        probabilities = logits[0, -1].double().softmax(-1)
        order = probabilities.argsort(descending=True).tolist()
        return {self.spec.vocabulary[symbol]: float(probabilities[symbol]) for symbol in order}

    @predicting
    def generate(
        self,
        prompt: str | None = None,
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """Generate ``length`` symbols that follow ``prompt``, one at a time, reproducibly for a seed.

        Args:
            prompt: text that the model reads first; not part of the result. None starts with a line break, or with the
                first symbol of a vocabulary without line breaks.
            length: symbols to generate.
            temperature: divisor of the logits; 0 always takes the likeliest symbol.
            top_k: sample only from the k likeliest symbols.
            top_p: sample only from the fewest symbols with at least this total probability (Holtzman et al., 2020).
            seed: of the sampling.
        """
        if prompt is None:
            symbols = self.spec.vocabulary
            prompt = "\n" if "\n" in symbols else symbols[1]  # symbol 0 is the unknown symbol
        generator = torch.Generator().manual_seed(seed)
        logits, state = self(self.encode(prompt))
        logits, written = logits[:, -1], []
        for _ in range(length):
            logits[:, 0] = -torch.inf  # never generate the unknown symbol
            token = choose(logits.cpu(), generator, temperature=temperature, top_k=top_k, top_p=top_p).to(self.device)
            written.append(self.spec.vocabulary[int(token)])
            outputs, state = self.backbone.step(self.embedding(token), state)
            logits = self.logits(outputs)
        return "".join(written)
