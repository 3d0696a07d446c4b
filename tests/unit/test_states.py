"""Files of states: what is read, how it is split, and chains counted by hand."""

import collections
import itertools
import math
import random

import numpy as np
import pytest
import torch

import cellstate
from cellstate.data import StatesData
from cellstate.data.batch import UNKNOWN
from cellstate.errors import RequestError
from cellstate.metrics.chains import chain_scores
from cellstate.metrics.tokens import IGNORED


def saved(folder, text, encoding="utf-8"):
    path = folder / "states.txt"
    path.write_bytes(text.encode(encoding))
    return str(path)


def states(folder, text, **options):
    return StatesData(**{"path": saved(folder, text), "batch_size": 1, **options})


def sequences(data, split, feature=None):
    """Return the sequences of a split as tuples of names: all inputs, and the last target."""
    samples, spec, found = data.prepared.splits[split], data.spec, []
    for inputs, targets in zip(samples.inputs.tolist(), samples.targets.tolist(), strict=True):
        steps = sum(target != IGNORED for target in targets)
        if feature is None:
            found.append(tuple(spec.vocabulary[state] for state in [*inputs[:steps], targets[steps - 1]]))
        else:
            found.append(tuple(spec.features[feature][step[feature]] for step in inputs[:steps]))
    return found


def lines_of(count=40, states="abcd", seed=0):
    draw = random.Random(seed)
    return [[draw.choice(states) for _ in range(draw.randint(2, 9))] for _ in range(count)]


LINES = lines_of()
TEXT = "".join(" ".join(line) + "\n" for line in LINES)
# The first column repeats the second's state before, so that columns cannot be taken for one another.
ROWS = [[(x, y) for x, y in zip("k" + "".join(line), line, strict=False)] for line in lines_of(20, "klm", seed=1)]


def table(delimiter=",", separator="", header=("room", "deed"), end="\n"):
    blocks = [end.join(delimiter.join(row) for row in block) + end for block in ROWS]
    return (delimiter.join(header) + end if header else "") + (separator + end).join(blocks)


def test_every_line_is_a_sequence_and_every_state_but_the_first_a_target(tmp_path):
    data = states(tmp_path, TEXT)
    found = [one for split in ("train", "val", "test") for one in sequences(data, split)]
    assert sorted(found) == sorted(map(tuple, LINES))
    assert [len(data.prepared.splits[split]) for split in ("train", "val", "test")] == [32, 4, 4]
    for samples in data.prepared.splits.values():
        for inputs, targets, length in zip(samples.inputs, samples.targets, samples.lengths, strict=True):
            assert torch.equal(inputs[1:length], targets[: length - 1])
            assert (targets[length:] == IGNORED).all()
            assert (inputs[length:] == 0).all()
            assert (targets[:length] != IGNORED).all()


@pytest.mark.parametrize("folds", [3, 7, 40])
def test_folds_partition_the_sequences(tmp_path, folds):
    lines = [tuple(f"{number:06b}") for number in range(40)]  # each is told from all others
    text = "".join(" ".join(line) + "\n" for line in lines)
    splits = []
    for fold in range(folds):
        data = states(tmp_path, text, folds=folds, fold=fold, seed=3)
        splits.append({split: sequences(data, split) for split in ("train", "val", "test")})
    for fold, parts in enumerate(splits):
        assert sorted(itertools.chain.from_iterable(parts.values())) == sorted(lines)
        assert len(parts["test"]) in (40 // folds, -(-40 // folds))
        assert sorted(parts["val"]) == sorted(splits[(fold + 1) % folds]["test"])
    assert sorted(itertools.chain.from_iterable(parts["test"] for parts in splits)) == sorted(lines)


def test_another_seed_is_another_split_and_the_same_seed_the_same(tmp_path):
    first, again, other = (states(tmp_path, TEXT, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_vocabulary_is_that_of_the_training_split(tmp_path):
    lines = "".join(f"a b s{number}\n" for number in range(10))
    data = states(tmp_path, lines, split=(0.5, 0.3, 0.2))
    assert data.spec.vocabulary[:3] == (UNKNOWN, "a", "b")
    assert len(data.spec.vocabulary) == 3 + 5
    assert (data.prepared.splits["train"].targets != 0).all()
    assert (data.prepared.splits["val"].targets[:, 1] == 0).all()
    assert any(
        "5 steps outside the training split have a state that does not occur" in fact for fact in data.prepared.facts
    )


def test_states_with_numbers_stand_in_the_order_of_the_numbers(tmp_path):
    data = states(tmp_path, "s10 s9 t s1 s02\n" * 10)
    assert data.spec.vocabulary == (UNKNOWN, "s1", "s02", "s9", "s10", "t")


@pytest.mark.parametrize("longest", [1, 2, 3, 5, 100])
def test_cutting_keeps_every_target_once(tmp_path, longest):
    data, uncut = states(tmp_path, TEXT, max_length=longest), states(tmp_path, TEXT)
    for split in ("train", "val", "test"):
        pieces, samples = data.prepared.splits[split], uncut.prepared.splits[split]
        assert pieces.inputs.shape[1] <= longest
        for name in ("inputs", "targets"):
            counted = [getattr(part, name)[part.targets != IGNORED].tolist() for part in (pieces, samples)]
            assert counted[0] == counted[1]


@pytest.mark.parametrize(
    "text",
    [
        table(),
        table("\t"),
        table(separator=","),
        table("\t", separator="\t", end="\r\n"),
        "\ufeff" + table(separator="\n") + "\n\n",
    ],
)
def test_tables_are_recognised_and_read(tmp_path, text):
    data = states(tmp_path, text)
    assert data.spec.feature_names == ("room", "deed")
    assert data.spec.vocabulary == data.spec.features[0] == (UNKNOWN, "k", "l", "m")
    found = [one for split in ("train", "val", "test") for one in sequences(data, split, feature=1)]
    assert sorted(found) == sorted(tuple(deed for _, deed in block[:-1]) for block in ROWS)
    assert "a table of 2 columns" in data.prepared.facts[0]


def test_a_marker_may_separate(tmp_path):
    data = states(tmp_path, table(separator="---"), separator="---")
    assert data.fingerprint == states(tmp_path, table()).fingerprint


def test_columns_and_target_are_chosen_by_name(tmp_path):
    second = states(tmp_path, table(), target="deed")
    assert second.spec.target_feature == 1
    samples = second.prepared.splits["train"]
    later = samples.targets[:, 1:] != IGNORED  # where a sequence goes on
    assert torch.equal(samples.targets[:, :-1][later], samples.inputs[:, 1:, 1][later])
    assert not torch.equal(samples.targets[:, :-1][later], samples.inputs[:, 1:, 0][later])
    alone = states(tmp_path, table(), columns=["deed"])
    assert alone.spec.features == ()
    assert alone.prepared.splits["train"].inputs.ndim == 2
    assert torch.equal(alone.prepared.splits["train"].targets, samples.targets)


def test_a_table_without_a_header_is_seen_as_such(tmp_path):
    data = states(tmp_path, table(header=()))
    assert data.spec.feature_names == ("column_1", "column_2")
    assert "without a header" in data.prepared.facts[0]
    assert states(tmp_path, table(header=()), header=True).spec.feature_names == ROWS[0][0]


def test_lines_of_one_state_with_empty_lines_are_a_table_of_one_column(tmp_path):
    data = states(tmp_path, "\n\n".join("\n".join(line) for line in LINES))
    other = states(tmp_path, TEXT)
    assert torch.equal(data.prepared.splits["train"].inputs, other.prepared.splits["train"].inputs)


def test_sequences_of_one_state_are_left_out_and_told(tmp_path):
    data = states(tmp_path, "a\n" + TEXT + "b\n")
    assert sum(map(len, data.prepared.splits.values())) == 40
    assert any("2 sequences of a single state" in fact for fact in data.prepared.facts)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "the file is empty"),
        ("\n \n", {}, "the file has no states"),
        ("a a a\n" * 20, {}, "only one state"),
        ("a\nb\n" * 20, {}, "every sequence has only one state"),
        (TEXT, {"folds": 41}, r"data\.folds=41: .* has only 40 sequences"),
        (TEXT, {"folds": 7, "fold": 7}, r"data\.fold=7: must be from 0 to 6"),
        (TEXT, {"fold": 2}, r"data\.fold=2: needs data"),
        (TEXT, {"split": [0.5, 0.6, 0]}, r"data\.split="),
        (TEXT, {"split": [0.99, 0.005, 0.005]}, "the val split is empty"),
        (TEXT, {"batch_size": 33}, r"data\.batch_size=33 is larger than the training split"),
        (TEXT, {"format": "lines", "target": "deed"}, r"data\.target=deed: applies to tables only"),
        (table(), {"target": "ded"}, r"data\.target=ded: .* no such column; did you mean 'deed'\?"),
        (table(), {"columns": ["rom"]}, r"data\.columns=rom: .* no such column; did you mean 'room'\?"),
        (table(), {"columns": ["room"], "target": "deed"}, r"data\.target=deed: .* no such column"),
        (table(header=("x", "x")), {"header": True}, "two columns are called 'x'"),
        (table().replace("k,", "k;", 1), {}, "line 2: has 1 cell, but the first row has 2"),
        (table() + "k,l,m\n", {}, r"line \d+: has 3 cells, but the first row has 2"),
        (table() + "k,\n", {}, r"line \d+: the cell of column 2 is empty"),
        ("room,deed\n", {"format": "table"}, "a header but no rows"),
        (",\n,\n", {"format": "table"}, "the table contains no states"),
    ],
)
def test_a_bad_file_or_request_gets_one_line(tmp_path, text, options, said):
    with pytest.raises(RequestError, match=said) as refused:
        _ = states(tmp_path, text, **options).prepared
    assert len(refused.value.problems) == 1


def test_a_missing_file_and_other_encodings_are_named(tmp_path):
    with pytest.raises(RequestError, match=r"data\.path=.*no such file"):
        _ = StatesData(path=str(tmp_path / "other.txt")).prepared
    path = tmp_path / "latin.txt"
    path.write_bytes("a b\na b\n\u00e4 b\n".encode("latin-1"))
    with pytest.raises(RequestError, match="line 3: byte 0xe4 is not UTF-8"):
        _ = StatesData(path=str(path)).prepared


def test_a_ragged_row_is_named_by_its_line(tmp_path):
    rows = table().splitlines()
    rows[11] += ",k"
    with pytest.raises(RequestError, match="line 12: has 3 cells"):
        _ = states(tmp_path, "\n".join(rows)).prepared


def test_lengths_too_unequal_to_be_padded_ask_for_a_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("cellstate.data.files.states.LARGEST", 16 * 50 * 100)
    text = TEXT + "a b " * 100 + "\n"
    with pytest.raises(RequestError, match=r"would be padded to the longest of 200 states.*data\.max_length"):
        _ = states(tmp_path, text, split=(0.9, 0.05, 0.05), seed=2).prepared
    assert states(tmp_path, text, split=(0.9, 0.05, 0.05), seed=2, max_length=20).prepared


# ---------------------------------------------------------------------- chains


def witten_bell(train, scored, symbols, order):
    """Score a chain by counting in dictionaries, sequence by sequence."""
    counts = [collections.defaultdict(collections.Counter) for _ in range(order + 1)]
    for line in train:
        for place in range(1, len(line)):
            for size in range(min(order, place) + 1):
                counts[size][tuple(line[place - size : place])][line[place]] += 1

    def probability(context, state):
        shorter = probability(context[1:], state) if context else 1 / symbols
        seen = counts[len(context)][tuple(context)]
        total, kinds = sum(seen.values()), len(seen)
        return (seen[state] + kinds * shorter) / (total + kinds) if total else shorter

    chances = [
        probability(line[max(0, place - order) : place], line[place])
        for line in scored
        for place in range(1, len(line))
    ]
    return -sum(map(math.log, chances)) / len(chances)


def padded(lines):
    width = max(map(len, lines)) - 1
    inputs = np.array([line[:-1] + [7] * (width + 1 - len(line)) for line in lines])  # the padding is no symbol
    return inputs, np.array([line[1:] + [IGNORED] * (width + 1 - len(line)) for line in lines])


def test_fitted_chains_are_those_counted_sequence_by_sequence():
    train, scored = lines_of(30, range(3), seed=4), lines_of(10, range(4), seed=5)
    found = chain_scores(padded(train), padded(scored), symbols=4)
    for order, name in enumerate(("unigram", "chain_1", "chain_2", "chain_3")):
        assert found["loss"][name] == pytest.approx(witten_bell(train, scored, 4, order), rel=1e-12)


def test_a_context_never_reaches_into_the_sequence_before():
    train, scored = lines_of(30, range(3), seed=6), lines_of(12, range(3), seed=7)
    first, second = (chain_scores(padded(train), padded(lines), symbols=3)["loss"] for lines in (scored, scored[::-1]))
    assert first == pytest.approx(second, rel=1e-12)


def test_orders_that_cannot_be_numbered_are_left_out():
    found = chain_scores(padded(lines_of(9, range(3))), padded(lines_of(9, range(3))), symbols=2_000_000)
    assert list(found["loss"]) == ["unigram", "chain_1", "chain_2"]  # (2e6)^3 < 2^63 < (2e6)^4


def test_without_a_file_the_chain_of_the_right_order_is_the_best_and_near_the_optimum():
    table = StatesData().reference_table()["loss"]
    chains = {name: table[name] for name in ("unigram", "chain_1", "chain_2", "chain_3")}
    assert min(chains, key=lambda name: chains[name]) == "chain_2"
    # 48 free parameters from 93,000 targets: an excess of about 48 / 180,000 nats.
    assert 0 < chains["chain_2"] - table["optimum_realised"] < 0.002
    assert abs(table["optimum_realised"] - table["optimum"]) < 0.04  # 11,000 targets of deviation near 1: 4 sigma


def test_a_checkpoint_predicts_without_the_file(tmp_path):
    path = saved(tmp_path, table())
    run = cellstate.train(
        [
            "experiment=next_state",
            f"data.path={path}",
            "data.target=deed",
            "data.batch_size=4",
            "backbone.hidden_size=8",
            "model.embedding_size=[3,4]",
            "trainer.max_epochs=1",
            "quiet=true",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
    )
    (tmp_path / "states.txt").unlink()
    loaded = cellstate.load(tmp_path / "run")
    history = [("k", "l"), ("l", "m")]
    found, expected = loaded.predict(history), run.model.predict(history)
    assert np.array_equal(found["probabilities"], expected["probabilities"])
    assert found["states"].tolist() == expected["states"].tolist()
    assert loaded.spec == run.data.spec
    assert {"transitions.png"} <= {file.name for file in (tmp_path / "run" / "figures").iterdir()}
    with pytest.raises(RequestError, match="step 1: the deed 'x' is unknown"):
        loaded.predict([("k", "x")])
