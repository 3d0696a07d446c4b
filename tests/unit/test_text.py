"""Text: cutting, encoding, and what the training split alone may decide."""

import itertools
import math

import pytest
import torch

from cellstate.data.files.text import UNKNOWN, TextData, cut, encode, python_topics, read_text
from cellstate.errors import RequestError
from cellstate.metrics.tokens import IGNORED


def saved(folder, text, encoding="utf-8"):
    path = folder / "text.txt"
    path.write_bytes(text.encode(encoding))
    return str(path)


def decoded(data, tokens):
    return "".join(data.spec.vocabulary[token] for token in tokens.tolist())


TEXT = "".join(itertools.islice(itertools.cycle("the quick brown fox, jumps over\nthe lazy dog. "), 3000))


def test_the_parts_joined_are_the_text():
    for length in (10, 11, 997, 1000):
        text = (TEXT * 2)[:length]
        for shares in [(0.9, 0.1, 0.0), (0.7, 0.2, 0.1), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)]:
            parts = cut(text, shares)
            assert "".join(parts.values()) == text
            for name, share in zip(("train", "val", "test"), shares, strict=True):
                assert abs(len(parts.get(name, "")) - share * length) <= 1
            assert ("test" in parts) == (shares[2] > 0)
    assert "".join(cut(TEXT, (0.5, 0.2, 0.1)).values()) == TEXT[:2400]


@pytest.mark.parametrize("shares", [(0.0, 0.5, 0.5), (0.9, 0.0, 0.1), (0.9, 0.2, 0.0), (-0.1, 0.5, 0.1)])
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(RequestError, match=r"data\.split="):
        cut(TEXT, shares)


def test_encoding_and_the_vocabulary_are_each_others_inverse(tmp_path):
    text = "aÄ日本😀\n\t€b" * 60
    data = TextData(path=saved(tmp_path, text), batch_size=2, eval_streams=2)
    assert decoded(data, data.prepared.splits["train"].tokens) == text[: int(0.9 * len(text))]
    assert decoded(data, data.prepared.splits["val"].tokens) == text[int(0.9 * len(text)) :]


def test_the_vocabulary_is_that_of_the_training_text(tmp_path):
    data = TextData(path=saved(tmp_path, "ab" * 450 + "abz" * 33 + "q"), batch_size=4, eval_streams=4)
    assert data.spec.vocabulary == (UNKNOWN, "a", "b")
    val = data.prepared.splits["val"].tokens
    assert (val == 0).sum() == 34  # every z and the q
    assert any("34 characters" in fact for fact in data.prepared.facts)


def test_encoding_gives_zero_to_what_is_not_there():
    assert encode("cab😀", (UNKNOWN, "a", "b")).tolist() == [0, 1, 2, 0]
    assert encode("", (UNKNOWN, "a")).tolist() == []


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_text_and_line_ends_stay(tmp_path, mark):
    assert read_text(saved(tmp_path, "one\r\ntwo\n", mark)) == "one\r\ntwo\n"


def test_bytes_that_are_no_text_are_named_by_line(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("eins\nzwei\ndr\u00e4i\n".encode("latin-1"))
    with pytest.raises(RequestError, match="line 3: byte 0xe4 is not UTF-8"):
        read_text(str(path))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("size", [700, 701, 1999])
def test_a_pass_of_evaluation_counts_every_character_but_the_first_once(tmp_path, split, size):
    data = TextData(path=saved(tmp_path, TEXT[:size]), split=(0.6, 0.4, 0), batch_size=8, steps=10, eval_streams=7)
    tokens = data.prepared.splits[split].tokens
    batches = list(data.loader(split))
    streams = torch.cat([batch.targets for batch in batches], dim=1).flatten()
    assert streams[streams != IGNORED].tolist() == tokens[1:].tolist()
    assert streams.dtype == torch.long


def test_the_training_loader_jitters_and_the_others_do_not(tmp_path):
    data = TextData(path=saved(tmp_path, TEXT), batch_size=4, steps=10, eval_streams=3)
    assert data.train_dataloader().jitter
    assert not data.val_dataloader().jitter
    assert len(data.train_dataloader().inputs) == 4
    assert len(data.val_dataloader().inputs) == 3
    assert data.test_dataloader() == []
    assert data.reported_split == "val"


def test_other_symbols_are_another_data_set(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = TextData(path=saved(tmp_path / "a", "abba" * 200), batch_size=2, eval_streams=2)
    other = TextData(path=saved(tmp_path / "b", "cddc" * 200), batch_size=2, eval_streams=2)
    assert torch.equal(one.prepared.splits["train"].tokens, other.prepared.splits["train"].tokens)
    assert one.fingerprint != other.fingerprint
    again = TextData(path=saved(tmp_path / "a", "abba" * 200), batch_size=2, eval_streams=2)
    assert one.fingerprint == again.fingerprint


def test_references_of_a_text_are_ordered_by_what_they_know():
    data = TextData()
    losses = data.references()["loss"]
    assert losses["uniform"] == pytest.approx(math.log(len(data.spec.vocabulary)))
    assert losses["uniform"] > losses["unigram"] > losses["bigram"] > losses["trigram"]


@pytest.mark.parametrize("text", ["ab", "aab", "abcabc"])
def test_references_exist_for_the_shortest_texts(tmp_path, text):
    data = TextData(path=saved(tmp_path, text * 2), split=(0.5, 0.5, 0), batch_size=1, eval_streams=1)
    scores = data.references()
    assert all(math.isfinite(value) for values in scores.values() for value in values.values())


def test_a_text_of_one_symbol_is_refused(tmp_path):
    with pytest.raises(RequestError, match="one symbol only"):
        _ = TextData(path=saved(tmp_path, "a" * 1000)).prepared


@pytest.mark.parametrize(("key", "sizes"), [("batch_size", (451, 8)), ("eval_streams", (8, 51))])
def test_more_streams_than_a_split_allows_are_refused(tmp_path, key, sizes):
    data = TextData(path=saved(tmp_path, TEXT[:1000]), batch_size=sizes[0], eval_streams=sizes[1])
    with pytest.raises(RequestError, match=f"data.{key}={max(sizes)} is larger"):
        _ = data.prepared
    _ = TextData(path=saved(tmp_path, TEXT[:1000]), batch_size=450, eval_streams=50).prepared


def test_python_carries_enough_english_to_train_on():
    text = python_topics()
    assert len(text) > 400_000
    assert text == python_topics()
