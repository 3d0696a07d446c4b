"""Text: which files it is, cutting, encoding, and what the training split alone may decide."""

import hashlib
import itertools
import math
import os
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import forkserver

from cellstate.data.batch import UNKNOWN
from cellstate.data.files import corpus, text, token_file
from cellstate.data.files.corpus import Corpus, find_corpus, python_topics
from cellstate.data.files.encoding import cut_points, encode_in_memory, token_type
from cellstate.data.files.text import TextData
from cellstate.errors import RequestError, RunError
from cellstate.metrics import ngrams
from cellstate.metrics.tokens import IGNORED


def saved(folder, content, encoding="utf-8"):
    path = folder / "text.txt"
    path.write_bytes(content.encode(encoding))
    return str(path)


def decoded(data, tokens):
    return "".join(data.spec.vocabulary[token] for token in tokens.tolist())


def written(source):
    """What a corpus holds, as text."""
    return "".join("".join(map(chr, piece.tolist())) for piece in source.pieces())


TEXT = "".join(itertools.islice(itertools.cycle("the quick brown fox, jumps over\nthe lazy dog. "), 3000))


# ---------------------------------------------------------------------- cutting and encoding


def test_the_parts_joined_are_the_text():
    for length in (10, 11, 997, 1000):
        for shares in [(0.9, 0.1, 0.0), (0.7, 0.2, 0.1), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)]:
            stops = cut_points(length, shares)
            assert stops[-1] == length
            for share, part in zip(shares, np.diff([0, *stops]), strict=True):
                assert abs(part - share * length) <= 1
    assert cut_points(3000, (0.5, 0.2, 0.1))[-1] == 2400


@pytest.mark.parametrize("shares", [(0.0, 0.5, 0.5), (0.9, 0.0, 0.1), (0.9, 0.2, 0.0), (-0.1, 0.5, 0.1)])
def test_shares_that_make_no_sense_are_refused_before_the_text_is_read(shares):
    with pytest.raises(RequestError, match=r"data\.split="):
        _ = TextData(path="there is no such file", split=shares).prepared


def test_encoding_and_the_vocabulary_are_each_others_inverse(tmp_path):
    content = "aÄ日本😀\n\t€b" * 60
    data = TextData(path=saved(tmp_path, content), batch_size=2, eval_streams=2)
    assert decoded(data, data.prepared.splits["train"].tokens) == content[: int(0.9 * len(content))]
    assert decoded(data, data.prepared.splits["val"].tokens) == content[int(0.9 * len(content)) :]


def test_the_vocabulary_is_that_of_the_training_text(tmp_path):
    data = TextData(path=saved(tmp_path, "ab" * 450 + "abz" * 33 + "q"), batch_size=4, eval_streams=4)
    assert data.spec.vocabulary == (UNKNOWN, "a", "b")
    val = data.prepared.splits["val"].tokens
    assert (val == 0).sum() == 34  # every z and the q
    assert any("34 characters" in fact for fact in data.prepared.facts)


def test_the_vocabulary_reaches_to_the_very_border(tmp_path):
    for place in (898, 899, 900, 901):  # the first of validation is number 900
        content = "ab" * 500
        content = content[:place] + "z" + content[place + 1 :]
        data = TextData(path=saved(tmp_path, content), batch_size=4, eval_streams=4)
        assert ("z" in data.spec.vocabulary) == (place < 900)


@pytest.mark.parametrize("symbols", [3, 255, 256, 257, 2**15, 2**15 + 1, 0x110000])
def test_every_symbol_fits_into_its_type_and_takes_no_more_than_it_must(symbols):
    kind = token_type(symbols)
    assert np.iinfo(kind).max >= symbols - 1
    assert kind.itemsize == (1 if symbols <= 256 else 2 if symbols <= 2**15 else 4)


def test_large_alphabets_are_numbered_without_a_slip(tmp_path):
    letters = [chr(0x4E00 + number) for number in range(20_000)]
    content = "".join(letters) * 2
    data = TextData(path=saved(tmp_path, content), split=(0.5, 0.5, 0), batch_size=4, eval_streams=4)
    assert len(data.spec.vocabulary) == 20_001
    assert decoded(data, data.prepared.splits["val"].tokens) == "".join(letters)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_text_and_line_ends_stay(tmp_path, mark):
    assert written(find_corpus(saved(tmp_path, "one\r\ntwo\n", mark), "*", "")) == "one\r\ntwo\n"


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 64])
def test_characters_on_the_border_of_two_pieces_stay_whole(tmp_path, monkeypatch, piece):
    content = "aé日😀\n" * 7
    monkeypatch.setattr(corpus, "PIECE", piece)
    for encoding in ("utf-8", "utf-8-sig"):
        assert written(find_corpus(saved(tmp_path, content, encoding), "*", "")) == content


@pytest.mark.parametrize("piece", [1, 2, 7, 2**20])
def test_bytes_that_are_no_text_are_named_by_file_and_line(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(corpus, "PIECE", piece)
    path = tmp_path / "latin.txt"
    for content, complaint in (
        ("eins\nzwei\ndr\u00e4i\n".encode("latin-1"), "line 3: byte 0xe4 is not UTF-8"),
        ("é\nzwei".encode() + b"\xc3", "line 2: byte 0xc3 is not UTF-8"),  # cut off within a character
        (b"\xef\xbb\xbfeins\nz\xff", "line 2: byte 0xff is not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=rf"latin\.txt, {complaint}; save the file as UTF-8"):
            written(find_corpus(str(path), "*", ""))


def folder_of(place, **files):
    for name, content in files.items():
        path = place / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(place)


def test_a_folder_is_its_text_files_in_the_order_of_their_paths(tmp_path):
    path = folder_of(
        tmp_path,
        b_txt="B",
        a__z_md="Z",
        a__b__c_txt="C",
        c_txt="\ufeffmark",
        d_txt="",
        e_png=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        _hidden="hidden",
        _git__config="hidden too",
    )
    found = find_corpus(path, "*", "|")
    assert written(found) == "C|Z|B|mark"
    assert found.skipped == (".git/", ".hidden", "e.png")
    assert written(find_corpus(path, "*.txt", "")) == "CBmark"
    assert written(find_corpus(path, "a/*.md", "")) == "Z"


def test_a_folder_trains_like_the_file_of_all_its_texts_and_says_what_it_left_out(tmp_path):
    parts = [TEXT[:700], TEXT[700:1500], TEXT[1500:]]
    names = {f"part{number}_txt": part for number, part in enumerate(parts)}
    folder = folder_of(tmp_path / "folder", **names, x_bin=b"\0")
    data = TextData(path=folder, batch_size=4, eval_streams=3, separator="\n\n")
    alone = TextData(path=saved(tmp_path, "\n\n".join(parts)), batch_size=4, eval_streams=3)
    assert data.fingerprint == alone.fingerprint
    assert "(3 files)" in data.prepared.facts[0]
    assert data.prepared.facts[1] == "skipped (hidden or not text): x.bin"


def test_folders_without_text_and_files_of_other_encodings_are_refused(tmp_path):
    for name, files, pattern, complaint in (
        ("empty", {}, "*", "the folder contains no text; name a UTF-8 file"),
        ("blank", {"a_txt": ""}, "*", "the folder contains no text"),
        ("binary", {"a_bin": b"\0"}, "*", r"the folder contains no text \(skipped: a.bin\)"),
        ("named", {"a_txt": "x"}, "*.text", r"no text file matches data.pattern=\*.text; did you mean 'a.txt'"),
    ):
        (tmp_path / name).mkdir()
        with pytest.raises(RequestError, match=complaint) as refusal:
            find_corpus(folder_of(tmp_path / name, **files), pattern, "\n")
        assert len(refusal.value.problems) == 1
    mixed = folder_of(tmp_path / "mixed", a_txt="eins\n", b_txt="zwei\ndr\u00e4i".encode("latin-1"))
    with pytest.raises(RequestError, match=r"b\.txt, line 2: byte 0xe4 is not UTF-8"):
        _ = TextData(path=mixed).prepared
    wide = folder_of(tmp_path / "wide", a_txt="eins\n", b_txt="zwei".encode("utf-16"))
    with pytest.raises(RequestError, match=r"b\.txt, line 1: this is UTF-16; save the file as UTF-8"):
        _ = TextData(path=wide).prepared


def test_python_carries_enough_english_to_train_on():
    content = written(python_topics())
    assert len(content) > 400_000
    assert content == written(python_topics())


# ---------------------------------------------------------------------- loaders and references


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
    assert data.train_dataloader().rows == 4
    assert data.val_dataloader().rows == 3
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


@pytest.mark.parametrize("content", ["ab", "aab", "abcabc"])
def test_references_exist_for_the_shortest_texts(tmp_path, content):
    data = TextData(path=saved(tmp_path, content * 2), split=(0.5, 0.5, 0), batch_size=1, eval_streams=1)
    scores = data.references()
    assert all(math.isfinite(value) for values in scores.values() for value in values.values())


def test_a_text_of_one_symbol_is_refused(tmp_path):
    with pytest.raises(RequestError, match="only one symbol"):
        _ = TextData(path=saved(tmp_path, "a" * 1000)).prepared


@pytest.mark.parametrize(("key", "sizes"), [("batch_size", (451, 8)), ("eval_streams", (8, 51))])
def test_more_streams_than_a_split_allows_are_refused(tmp_path, key, sizes):
    data = TextData(path=saved(tmp_path, TEXT[:1000]), batch_size=sizes[0], eval_streams=sizes[1])
    with pytest.raises(RequestError, match=f"data.{key}={max(sizes)} is too large"):
        _ = data.prepared
    _ = TextData(path=saved(tmp_path, TEXT[:1000]), batch_size=450, eval_streams=50).prepared


def test_the_advice_of_a_refusal_is_accepted_and_a_mistake_is_told_once(tmp_path):
    path = saved(tmp_path, TEXT[:200])
    data = TextData(path=path, split=(0.9, 0.06, 0.04), batch_size=32, eval_streams=32)  # too many for val and test
    with pytest.raises(RequestError) as refusal:
        _ = data.prepared
    (problem,) = refusal.value.problems
    (advised,) = re.findall(r"set data.eval_streams=(\d+) or less", problem)
    _ = TextData(path=path, split=(0.9, 0.06, 0.04), batch_size=32, eval_streams=int(advised)).prepared


@pytest.mark.parametrize(("size", "split"), [(10, (0.9, 0.1, 0.0)), (100, (0.9, 0.09, 0.01)), (1, (0.9, 0.1, 0.0))])
def test_a_split_too_short_for_any_stream_is_told_as_such(tmp_path, size, split):
    with pytest.raises(RequestError) as refusal:
        _ = TextData(path=saved(tmp_path, TEXT[:size]), split=split).prepared
    (problem,) = refusal.value.problems
    assert "the text is too short" in problem
    assert "streams=" not in problem


# ---------------------------------------------------------------------- texts larger than memory


def mapped(path, cache, monkeypatch, **options):
    """The data of a text as it is handled where it is large."""
    monkeypatch.setattr(text, "IN_MEMORY_BYTES", 1)
    data = TextData(path=path, cache=str(cache), **options)
    _ = data.prepared
    monkeypatch.setattr(text, "IN_MEMORY_BYTES", 2**26)
    return data


def batches(data, split, shuffle, epochs=3):
    loader = data.loader(split, shuffle=shuffle)
    return [tensor for _ in range(epochs) for batch in loader for tensor in (batch.inputs, batch.targets, batch.reset)]


@pytest.mark.parametrize("symbols", [90, 300, 40_000])
def test_a_mapped_text_gives_the_batches_of_one_in_memory_bit_for_bit(tmp_path, monkeypatch, symbols):
    chance = random.Random(symbols)
    path = saved(tmp_path, "".join(chr(0x20000 + chance.randrange(symbols)) for _ in range(5000)) + "z")
    for module, name in ((corpus, "PIECE"), (token_file, "STRETCH"), (ngrams, "STRETCH")):
        monkeypatch.setattr(module, name, 611)
    options = {"split": (0.7, 0.2, 0.1), "batch_size": 7, "steps": 13, "eval_streams": 5, "seed": 3}
    large, small = mapped(path, tmp_path, monkeypatch, **options), TextData(path=path, **options)
    tokens = large.prepared.splits["train"].tokens
    assert tokens.dtype == {90: torch.uint8, 300: torch.int16, 40_000: torch.int16}[symbols]
    assert "read from its encoded form" in large.prepared.facts[1]
    assert large.spec == small.spec
    assert large.fingerprint == small.fingerprint
    for split, shuffle in (("train", True), ("val", False), ("test", False)):
        pairs = zip(batches(large, split, shuffle), batches(small, split, shuffle), strict=True)
        assert all(one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)
    assert large.prepared.facts[0] == small.prepared.facts[0]
    assert large.prepared.facts[2:] == small.prepared.facts[1:]  # on the z, which the training text does not hold
    whole = small.references()
    monkeypatch.setattr(ngrams, "STRETCH", 2**22)
    assert small.references() == whole  # counting in stretches counts the same


def test_a_text_is_encoded_once_and_again_when_anything_about_it_changes(tmp_path, monkeypatch):
    path, cache = saved(tmp_path, TEXT), tmp_path / "cache"
    survey, read = token_file.survey, []
    monkeypatch.setattr(token_file, "survey", lambda *args: read.append(1) or survey(*args))

    def reads(**options):
        read.clear()
        data = mapped(path, cache, monkeypatch, batch_size=4, eval_streams=4, **options)
        assert data.fingerprint == TextData(path=path, batch_size=4, eval_streams=4, **options).fingerprint
        return len(read)

    assert [reads(), reads()] == [1, 0]
    (file,) = cache.iterdir()
    saved(tmp_path, TEXT.replace("fox", "cat"))  # of the same length
    os.utime(path, ns=(1, 1))
    assert [reads(), reads()] == [1, 0]
    assert list(cache.iterdir()) == [file]  # a text that changes leaves no second file
    assert [reads(split=(0.5, 0.5, 0)), reads(split=(0.5, 0.5, 0)), reads()] == [1, 0, 0]
    file.unlink()
    assert [reads(), reads()] == [1, 0]
    good = file.read_bytes()
    for damage in (b"", b"short", good[:-1], good[:-40], b"\xff" + good[1:], good[:100], good + b"x", good[1:]):
        file.write_bytes(damage)
        assert [reads(), reads()] == [1, 0], damage[:20]
        assert file.read_bytes() == good


def test_nothing_half_written_is_left_behind(tmp_path, monkeypatch):
    path, cache = saved(tmp_path, TEXT), tmp_path / "cache"
    cache.mkdir()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(token_file, "check_length", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mapped(path, cache, monkeypatch, batch_size=4)
    assert list(cache.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot be written .*data\.cache=FOLDER puts it elsewhere"):
        mapped(path, tmp_path / "file", monkeypatch, batch_size=4)


def test_a_text_that_grows_while_it_is_read_is_refused():
    class Growing(Corpus):
        times = 0

        def pieces(self):
            self.__class__.times += 1
            yield np.zeros(10 + self.times, np.uint8)

    with pytest.raises(RequestError, match="changed while it was being read"):
        encode_in_memory(Growing("a.txt"), (0.9, 0.1, 0.0))


LIMITED = """
import re, resource, sys
import lightning as L, torch
from functools import partial
from cellstate.backbone import GRU
from cellstate.data.files import text
from cellstate.model import LanguageModel

torch.set_num_threads(1)
path, cache, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
def trained(path, **options):
    data = text.TextData(path=path, cache=cache, batch_size=8, eval_streams=8, **options)
    model = LanguageModel(data.spec, partial(GRU, hidden_size=8), optimizer=partial(torch.optim.SGD, lr=0.1))
    trainer = L.Trainer(max_steps=3, limit_val_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                        enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, datamodule=data)
    return data, model.results["val"]["loss"], data.fingerprint, data.references()
trained(None)  # all that is imported late
text.IN_MEMORY_BYTES = 2**24
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + room, used + room))
data, loss, *_ = trained(path)
print(loss, len(data.prepared.splits["train"].tokens))
text.IN_MEMORY_BYTES = 2**40
try:
    trained(path)
except MemoryError:
    print("held in memory, it does not fit")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_text_larger_than_memory_trains(tmp_path):
    # What a process may allocate is limited to less than the text has bytes; files that are mapped do not count.
    path, room = tmp_path / "large.txt", 32 * 2**20
    block = (TEXT * 400).encode()
    with path.open("wb") as file:
        for _ in range(5 * room // 4 // len(block)):
            file.write(block)

    child = forkserver.run(["-c", LIMITED, path, tmp_path, str(room)], cwd=tmp_path)
    assert child.returncode == 0, child.stderr[-2000:]
    results, otherwise = child.stdout.splitlines()
    loss, count = results.split()
    assert math.isfinite(float(loss))
    assert int(count) == int(0.9 * path.stat().st_size) > room
    assert otherwise == "held in memory, it does not fit"


def test_the_digest_of_a_text_is_that_of_its_numbers_whatever_holds_them(tmp_path):
    data = TextData(path=saved(tmp_path, TEXT), batch_size=4, eval_streams=4)
    samples = data.prepared.splits["train"]
    digest = hashlib.sha256()
    samples.update_digest(digest)
    assert samples.tokens.dtype == torch.uint8
    assert digest.hexdigest() == hashlib.sha256(samples.tokens.numpy().astype("<i4").tobytes()).hexdigest()


def test_the_cache_lies_where_the_system_has_its_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert token_file.default_folder() == Path("/somewhere/cellstate")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert token_file.default_folder() == Path.home() / ".cache" / "cellstate"
