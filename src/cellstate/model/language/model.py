"""A language model: a distribution over the next token after every token, with a state that is carried on."""

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
    from cellstate.model.material import Material, Rows
    from cellstate.plotting.parts import Section


class LanguageModel(TokenModel):
    """Predicts the next token of a stream, trained by truncated backpropagation through time.

    The state that the backbone ends a batch with begins the next one, cut off from its gradient, except in rows
    whose ``reset`` is set.

    Args:
        spec: the vocabulary.
        backbone: called with ``input_size``.
        embedding_size: width of the token embedding.
        tied: the weights that give an output are those that embed the inputs (Press & Wolf, 2017; Inan et al., 2017):
            ``logits = E P h + b`` with the embedding ``E (V, embedding_size)``. ``P`` is a linear projection without a
            bias where the backbone's outputs have another width than the embedding, else the identity.
        dropout: on the embedded tokens and on the backbone's outputs, in training.
        variational_dropout: drop the same features at all steps of a batch (``VariationalDropout``), not others at
            each; what a backbone drops between its layers stays as it is.
        optimizer: called with the parameters; None for a model that only predicts.
        scheduler: called with the optimiser and ``total_steps``.
    """

    headline = Headline("bpc", "bits a character", loss_unit="nats a character")
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
            # The embedding's N(0, 1) serves both uses: with an output layer's U(-1, 1) / sqrt(embedding_size) the
            # symbols hardly differ as inputs, and the network learns their frequencies for an epoch and no more.
            self.head.weight = self.embedding.weight
        self._carried: dict[str, State | None] = {"train": None, "eval": None}

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits ``(B, T, V)`` of the token that follows each of ``tokens (B, T)``, and the state after them."""
        outputs, after = self.backbone(self.dropout(self.embedding(tokens)), state)
        return self.logits(self.dropout(outputs)), after

    def logits(self, outputs: Tensor) -> Tensor:
        """Return logits ``(..., V)`` for outputs of the backbone ``(..., D)``."""
        return self.head(self.project(outputs))

    def compute_output(self, batch: Batch) -> Tensor:
        """Return logits, going on from the state that the batch before left; separate sequences begin with none."""
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
        """Return what training keeps beside weights, the state carried along the text included."""
        carried = self._carried["train"]
        return {**super().training_state(), "carried": None if carried is None else [part.cpu() for part in carried]}

    def take_up_training(self, state: dict[str, Any]) -> None:
        """Go on from what ``training_state`` gave, within the streams where it was taken."""
        super().take_up_training(state)
        carried = state["carried"]
        self._carried["train"] = None if carried is None else tuple(carried)

    def on_train_start(self) -> None:
        """Have the carried state of a run that goes on where the network is."""
        super().on_train_start()
        if (carried := self._carried["train"]) is not None:
            self._carried["train"] = tuple(tensor.to(self.device) for tensor in carried)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's streams with no state."""
        self._carried["train"] = None

    def on_validation_epoch_start(self) -> None:
        """Begin the split's streams with no state."""
        super().on_validation_epoch_start()
        self._carried["eval"] = None

    on_test_epoch_start = on_validation_epoch_start

    def section(self, material: Material) -> Section:
        """Return what the model writes, a text by surprise, and the bits by position."""
        from cellstate.model.language import figures  # loads matplotlib

        return figures.section(material)

    def tables(self, material: Material) -> dict[str, Rows]:
        """Return what the model writes at each temperature."""
        from cellstate.model.language import figures  # loads matplotlib

        return figures.tables(material)

    def predict_file(self, data: SequenceData, path: str) -> pl.DataFrame:  # noqa: ARG002
        """Refuse: what a language model says of a text is no table."""
        raise UnsupportedError("a language model, which predicts no table; have it write with cellstate generate")

    # ------------------------------------------------------------------ use

    def encode(self, text: str) -> Tensor:
        """Return the token indices of a text, ``(1, T)``.

        Raises:
            RequestError: a symbol is not in the vocabulary, or the text is empty.
        """
        index = {symbol: number for number, symbol in enumerate(self.spec.vocabulary)}
        strange = sorted({symbol for symbol in text if symbol not in index})
        if strange or not text:
            what = f"holds symbols that the model has never seen: {strange}" if strange else "is empty"
            known = "".join(self.spec.vocabulary[1:101]) + ("…" if len(self.spec.vocabulary) > 101 else "")
            raise RequestError(f"the prompt {what}; its symbols are {known!r}")
        return torch.tensor([[index[symbol] for symbol in text]], device=self.device)

    @predicting
    def predict(self, text: str) -> dict[str, float]:
        """Return the probability of each symbol to follow ``text``, the likeliest first."""
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
        """Write ``length`` symbols that follow ``prompt``, one at a time; the same seed writes the same text.

        Args:
            prompt: what the model reads first; it is not part of the result. None begins with a line break, or with
                the vocabulary's first symbol where texts have no lines.
            length: symbols to write.
            temperature: logits are divided by it; 0 always takes the likeliest symbol.
            top_k: sample among the k likeliest symbols only.
            top_p: sample among the fewest symbols that hold this share of the probability (Holtzman et al., 2020).
            seed: of the sampling.
        """
        if prompt is None:
            symbols = self.spec.vocabulary
            prompt = "\n" if "\n" in symbols else symbols[1]  # symbol 0 stands for unknown ones
        generator = torch.Generator().manual_seed(seed)
        logits, state = self(self.encode(prompt))
        logits, written = logits[:, -1], []
        for _ in range(length):
            logits[:, 0] = -torch.inf  # the symbol that stands for unknown ones is never written
            token = choose(logits.cpu(), generator, temperature=temperature, top_k=top_k, top_p=top_p).to(self.device)
            written.append(self.spec.vocabulary[int(token)])
            outputs, state = self.backbone.step(self.embedding(token), state)
            logits = self.logits(outputs)
        return "".join(written)
