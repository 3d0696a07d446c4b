"""The language model: a state that is carried, cut and reset, and a text written from it."""

from functools import partial

import lightning as L
import pytest
import torch
from torch import nn

from cellstate.backbone import GRU, LSTM, RNN
from cellstate.data.batch import UNKNOWN, Batch, DataSpec
from cellstate.data.files.text import TextData
from cellstate.data.loader import StreamLoader
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED
from cellstate.model import LanguageModel, parameters_of
from cellstate.model.language.dropout import VariationalDropout

SPEC = DataSpec(vocabulary=(UNKNOWN, *"abcdefgh"))
BACKBONES = (RNN, LSTM, GRU)


def language_model(backbone=LSTM, *, spec=SPEC, sharpness=4.0, num_layers=1, **options):
    torch.manual_seed(0)
    model = LanguageModel(spec, partial(backbone, hidden_size=12, num_layers=num_layers), embedding_size=6, **options)
    with torch.no_grad():  # an untrained head is nearly uniform, and a sharper one tells more
        model.head.weight *= sharpness
    return model.eval()


def tokens(count, rows=3, seed=0):
    return torch.randint(1, 9, (rows, count), generator=torch.Generator().manual_seed(seed))


def chunks(inputs, size):
    """The batches of streams ``(B, T)``: reset in the first."""
    for start in range(0, inputs.shape[1], size):
        part = inputs[:, start : start + size]
        yield Batch(part, part, reset=torch.full((len(inputs),), start == 0))


# ---------------------------------------------------------------------- state


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [1, 4, 7, 20])
def test_chunks_that_hand_the_state_on_equal_one_long_pass(backbone, training, size):
    model = language_model(backbone, num_layers=2).train(training)
    inputs = tokens(20)
    whole, _ = model(inputs)
    parts = [model.compute_output(batch) for batch in chunks(inputs, size)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=1e-5)


def test_a_pass_begins_without_the_state_of_the_pass_before():
    model = language_model()
    inputs = tokens(20)
    first, second = ([model.compute_output(batch) for batch in chunks(inputs, 6)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_are_reset_begin_anew_and_the_others_go_on():
    model = language_model()
    before, after = tokens(9), tokens(5, seed=1)
    model.compute_output(Batch(before, before, reset=torch.tensor([True, True, True])))
    logits = model.compute_output(Batch(after, after, reset=torch.tensor([False, True, False])))
    whole, _ = model(torch.cat((before, after), 1))
    fresh, _ = model(after)
    torch.testing.assert_close(logits[[0, 2]], whole[[0, 2], 9:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(logits[1], fresh[1], atol=1e-6, rtol=1e-5)


def test_the_state_carries_values_and_no_gradient():
    model = language_model().train()
    inputs = tokens(10)
    first, second = chunks(inputs, 5)
    model.loss(model.compute_output(first), first).backward()
    model.zero_grad()
    loss = model.loss(model.compute_output(second), second)
    loss.backward()  # would fail on the freed graph of the first chunk if it were still attached
    found = [parameter.grad.clone() for parameter in model.parameters()]

    # The same gradient by hand: the second chunk from the first one's final state, as a constant.
    model.zero_grad()
    with torch.no_grad():
        _, state = model.backbone(model.embedding(first.inputs))
    logits, _ = model(second.inputs, state)
    nn.functional.cross_entropy(logits.flatten(0, 1), second.targets.flatten()).backward()
    torch.testing.assert_close(found, [parameter.grad for parameter in model.parameters()], atol=1e-6, rtol=1e-5)
    model.zero_grad()
    whole, _ = model(inputs)
    nn.functional.cross_entropy(whole[:, 5:].flatten(0, 1), second.targets.flatten()).backward()
    recurrent = model.backbone.network.weight_hh_l0.grad
    assert (recurrent - found[2]).abs().max() > 1e-4  # through the cut there would have been more


def test_evaluation_in_the_middle_of_training_leaves_its_state_alone():
    inputs, others = tokens(20), tokens(30, seed=5)
    found = []
    for interrupted in (False, True):
        model = language_model().train()
        outputs = []
        for number, batch in enumerate(chunks(inputs, 5)):
            if interrupted and number == 2:
                model.eval()
                model.on_validation_epoch_start()
                for other in chunks(others, 7):
                    model.validation_step(other, 0)
                model.train()
            outputs.append(model.compute_output(batch))
        found.append(torch.cat(outputs, 1))
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


@pytest.mark.parametrize(("streams", "steps"), [(3, 5), (1, 7), (8, 100)])
def test_the_scores_of_a_split_do_not_depend_on_how_streams_are_cut_into_batches(streams, steps):
    text = tokens(201, rows=1)[0]
    model = language_model()
    model.on_validation_epoch_start()
    for number, batch in enumerate(StreamLoader(text, streams, steps)):
        model.validation_step(batch, number)
    found = model._scores.compute()

    losses, width = [], -(-200 // streams)
    for stream in range(streams):
        part = text[stream * width : (stream + 1) * width + 1]
        if len(part) > 1:
            logits, _ = model(part[None, :-1])
            losses.append(nn.functional.cross_entropy(logits[0].double(), part[1:], reduction="none"))
    assert torch.cat(losses).numel() == 200
    assert found["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)


# ---------------------------------------------------------------------- loss


def test_targets_that_do_not_count_change_neither_loss_nor_gradient():
    model = language_model().train()
    inputs, targets = tokens(8), tokens(8, seed=1)
    targets[1, 5:] = IGNORED
    logits, _ = model(inputs)
    kept = targets != IGNORED
    by_hand = nn.functional.cross_entropy(logits[kept], targets[kept])
    loss = model.loss(logits, Batch(inputs, targets))
    torch.testing.assert_close(loss, by_hand)
    assert model.loss_weight(Batch(inputs, targets)) == 21


def test_a_batch_without_any_target_has_no_loss_and_no_gradient():
    # As the last of many processes may have, where the text does not fill all streams.
    model = language_model().train()
    inputs = tokens(8)
    logits, _ = model(inputs)
    loss = model.loss(logits, Batch(inputs, torch.full_like(inputs, IGNORED)))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is None or parameter.grad.abs().sum() == 0 for parameter in model.parameters())


def fitted(tmp_path, text, **data):
    path = tmp_path / "text.txt"
    path.write_text(text)
    source = TextData(path=str(path), split=(0.5, 0.5, 0), **data)
    torch.manual_seed(0)
    model = LanguageModel(source.spec, partial(GRU, hidden_size=6), optimizer=partial(torch.optim.SGD, lr=0.0))
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=source)
    return model


@pytest.mark.parametrize("size", [60, 61, 66, 87])
def test_the_training_loss_is_the_mean_over_the_tokens_that_count(tmp_path, size):
    # Both halves are the same text, cut alike: at a rate of 0 both losses are the same mean. The streams are not full.
    text = "".join("abcdefgh"[number % 7 if number % 3 else 1] for number in range(size))
    model = fitted(tmp_path, text + text, batch_size=9, eval_streams=9, steps=64)
    assert model.results["train"]["loss"] == pytest.approx(model.results["val"]["loss"], rel=1e-6)


# ---------------------------------------------------------------------- tied weights


def exact_loss(model, batch):
    """The model's loss in double precision throughout."""
    return nn.functional.cross_entropy(model(batch.inputs)[0].flatten(0, 1), batch.targets.flatten())


def numeric_gradient(model, batch, weight, entries, step=1e-6):
    """The derivative of the loss by some entries of a weight, from the loss a little to both sides."""
    found = []
    with torch.no_grad():
        for entry in entries:
            kept = weight[entry].item()
            losses = []
            for sign in (1, -1):
                weight[entry] = kept + sign * step
                losses.append(exact_loss(model, batch).item())
            weight[entry] = kept
            found.append((losses[0] - losses[1]) / (2 * step))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("embedding_size", [12, 5])  # as wide as the outputs, and with a projection between
def test_tied_weights_are_one_and_get_the_gradient_of_both_uses(embedding_size):
    torch.manual_seed(0)
    model = LanguageModel(SPEC, partial(LSTM, hidden_size=12), embedding_size=embedding_size, tied=True).double()
    weight = model.embedding.weight
    assert weight.data_ptr() == model.head.weight.data_ptr()
    assert weight.shape == (9, embedding_size)
    names = [name for name, _ in model.named_parameters()]
    assert ("project.weight" in names) == (embedding_size != 12)
    batch = Batch(tokens(7), tokens(7, seed=1))
    batch.inputs[batch.inputs == 4] = 5  # symbol 4 is never read: its gradient is of the output alone
    exact_loss(model, batch).backward()
    entries = [(symbol, column) for symbol in (0, 3, 4, 5) for column in range(embedding_size)]
    expected = numeric_gradient(model, batch, weight.data, entries)
    found = torch.stack([weight.grad[entry] for entry in entries])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)
    assert weight.grad[4].abs().max() > 0

    # Untied, each use has its own gradient; tied, their sum.
    apart = LanguageModel(SPEC, partial(LSTM, hidden_size=12), embedding_size=12).double()
    if embedding_size == 12:
        apart.load_state_dict(model.state_dict())
        exact_loss(apart, batch).backward()
        assert apart.embedding.weight.data_ptr() != apart.head.weight.data_ptr()
        torch.testing.assert_close(weight.grad, apart.embedding.weight.grad + apart.head.weight.grad)


def test_tied_weights_are_counted_once_and_come_back_tied():
    apart, tied = (LanguageModel(SPEC, partial(GRU, hidden_size=6), embedding_size=6, tied=on) for on in (False, True))
    assert parameters_of(apart) - parameters_of(tied) == 9 * 6
    again = LanguageModel(SPEC, partial(GRU, hidden_size=6), embedding_size=6, tied=True)
    again.load_state_dict(tied.state_dict())
    assert again.embedding.weight.data_ptr() == again.head.weight.data_ptr()
    assert again.eval().generate("abc", 30) == tied.eval().generate("abc", 30)


@pytest.mark.parametrize("options", [{"tied": True}, {"variational_dropout": True, "dropout": 0.4}])
def test_a_text_of_any_variant_is_that_of_full_passes(options):
    model = language_model(**options)
    assert model.generate("fedcba", 40, temperature=0) == greedy(model, "fedcba", 40)


def test_an_untied_network_of_plain_dropout_is_what_it_was_before_there_were_others():
    torch.manual_seed(3)
    model = LanguageModel(SPEC, partial(GRU, hidden_size=6), embedding_size=4, dropout=0.3).train()
    found, _ = model(tokens(9))
    torch.manual_seed(3)  # the same parts by hand, in the order in which they draw
    embedding, backbone, head = nn.Embedding(9, 4), GRU(4, 6), nn.Linear(6, 9)
    outputs, _ = backbone(nn.functional.dropout(embedding(tokens(9)), 0.3))
    assert torch.equal(found, head(nn.functional.dropout(outputs, 0.3)))
    assert sorted(model.state_dict()) == sorted(
        ["embedding.weight", "head.bias", "head.weight", *(f"backbone.{name}" for name in backbone.state_dict())]
    )


# ---------------------------------------------------------------------- variational dropout


def test_one_mask_holds_for_all_steps_of_a_sequence_and_another_for_the_next():
    dropout = VariationalDropout(0.4).train()
    dropped = dropout(torch.ones(200, 11, 30))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    masks = dropped[:, 0]
    assert len(torch.unique(masks, dim=0)) == 200  # of 2^30 masks, two alike in 200 are one case in 50,000
    assert not torch.equal(dropout(torch.ones(200, 11, 30)), dropped)  # the next batch has its own
    assert masks.unique().tolist() == pytest.approx([0, 1 / 0.6])


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_what_is_expected_stays_what_it_was(probability):
    torch.manual_seed(0)
    values = VariationalDropout(probability).train()(torch.ones(500, 3, 40))[:, 0]
    # Each of 20,000 is 1 / (1 - p) with probability 1 - p, else 0: mean 1, variance p / (1 - p).
    spread = (probability / (1 - probability) / values.numel()) ** 0.5
    assert values.mean().item() == pytest.approx(1, abs=5 * spread)


def test_variational_dropout_leaves_predictions_and_the_random_stream_alone_where_it_is_off():
    inputs = torch.randn(4, 5, 6)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert VariationalDropout(0.0).train()(inputs) is inputs
    assert VariationalDropout(0.7).eval()(inputs) is inputs
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_pass_through_what_is_kept_alone():
    torch.manual_seed(0)
    inputs = torch.randn(3, 4, 20, requires_grad=True)
    dropped = VariationalDropout(0.5).train()(inputs)
    dropped.sum().backward()
    torch.testing.assert_close(inputs.grad, dropped.detach() / inputs.detach())


# ---------------------------------------------------------------------- use


def test_a_prediction_is_the_distribution_after_the_text():
    model = language_model()
    found = model.predict("abca")
    logits, _ = model(torch.tensor([[1, 2, 3, 1]]))
    expected = logits[0, -1].double().softmax(-1)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1)
    for number, symbol in enumerate(SPEC.vocabulary):
        assert found[symbol] == pytest.approx(expected[number].item())


def greedy(model, prompt, length):
    """The likeliest symbol again and again, each from a full pass over all that stands there."""
    written = model.encode(prompt)
    for _ in range(length):
        logits, _ = model(written)
        logits[..., 0] = -torch.inf
        written = torch.cat((written, logits[:, -1].argmax(-1, keepdim=True)), 1)
    return "".join(SPEC.vocabulary[token] for token in written[0, len(prompt) :].tolist())


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-7}])
def test_the_likeliest_text_step_by_step_is_that_of_full_passes(backbone, options):
    model = language_model(backbone, num_layers=2)
    for prompt in ("a", "fedcba"):
        assert model.generate(prompt, 40, **options) == greedy(model, prompt, 40)


def test_a_sampled_text_is_that_of_full_passes_with_the_same_chance():
    from cellstate.model.language.sampling import choose

    model = language_model()
    generator = torch.Generator().manual_seed(7)
    written = model.encode("abc")
    with torch.no_grad():
        for _ in range(30):
            logits = model(written)[0][:, -1]
            logits[:, 0] = -torch.inf
            written = torch.cat((written, choose(logits, generator, temperature=0.9, top_k=5)[:, None]), 1)
    expected = "".join(SPEC.vocabulary[token] for token in written[0, 3:].tolist())
    assert model.generate("abc", 30, temperature=0.9, top_k=5, seed=7) == expected


def test_the_same_seed_writes_the_same_text():
    model = language_model()
    torch.manual_seed(1)
    first = model.generate("a", 60, seed=3)
    torch.manual_seed(2)
    assert model.generate("a", 60, seed=3) == first
    assert model.generate("a", 60, seed=4) != first
    assert model.generate("a", 20, seed=3) == first[:20]
    assert model.generate("a", 0) == ""


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"temperature": 50.0}, {"top_k": 9}, {"top_p": 1.0}])
def test_the_unknown_symbol_is_never_written(options):
    model = language_model()
    with torch.no_grad():
        model.head.bias[0] = 100.0  # and be it ever so likely
    text = model.generate("a", 300, **options)
    assert len(text) == 300
    assert UNKNOWN not in text


def test_writing_disturbs_neither_training_nor_evaluation():
    found = []
    for writes in (False, True):
        model = language_model().train()
        first, second = chunks(tokens(10), 5)
        model.compute_output(first)
        if writes:
            torch.manual_seed(11)
            model.generate("abc", 10)
        found.append(model.compute_output(second))
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


def test_a_model_in_training_mode_writes_and_predicts_without_dropout():
    model = language_model(dropout=0.5)
    text, chances = model.generate("abc", 30), model.predict("abc")
    model.train()
    assert model.generate("abc", 30) == text
    assert model.predict("abc") == chances
    assert model.training
    assert model.dropout.training


def test_strange_prompts_are_refused():
    with pytest.raises(RequestError, match=r"does not know: \['X', 'é'\]; known symbols are 'abcdefgh'"):
        language_model().generate("aXbé")
    with pytest.raises(RequestError, match="is empty"):
        language_model().predict("")


def test_a_backbone_that_reads_ahead_is_refused():
    with pytest.raises(RequestError, match="must not see the token it predicts"):
        LanguageModel(SPEC, partial(LSTM, hidden_size=4, bidirectional=True))
