"""The pattern task as data: balance, splits, names, and what stands beside its results."""

import math

import pytest
import torch

from cellstate.data.synthetic.pattern import PatternData


def contents(data, split):
    samples = data.prepared.splits[split]
    return ["".join(str(int(bit)) for bit in row.flatten()) for row in samples.inputs]


@pytest.fixture(scope="module")
def standard():
    return PatternData(train_size=1000)


def test_the_labels_are_what_the_sequences_hold(standard):
    for split in ("train", "val", "test"):
        found = ["110" in bits for bits in contents(standard, split)]
        assert standard.labels(split).tolist() == [int(held) for held in found]


def test_classes_are_balanced_exactly(standard):
    for split, size in (("train", 1000), ("val", 2000), ("test", 2000)):
        assert len(standard.labels(split)) == size
        assert standard.labels(split).sum() == size / 2


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_another_balance_is_exact_too(share):
    data = PatternData(train_size=200, val_size=100, test_size=500, balance=share)
    assert data.labels("test").sum() == round(500 * share)


def test_no_sequence_is_in_two_splits(standard):
    splits = [set(contents(standard, split)) for split in ("train", "val", "test")]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_inputs_are_bits_as_floats_of_one_feature(standard):
    inputs = standard.prepared.splits["train"].inputs
    assert inputs.shape == (1000, 20, 1)
    assert inputs.dtype == torch.float32
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert standard.spec.input_size == 1


def test_classes_are_named_after_the_pattern(standard):
    assert standard.spec.classes == ("without 110", "with 110")
    data = PatternData(pattern=(0, 1), train_size=64, val_size=64, test_size=64)
    assert data.spec.classes == ("without 01", "with 01")


def test_the_data_is_a_pure_function_of_the_seed():
    def fingerprint(**options):
        return PatternData(train_size=100, val_size=100, test_size=100, **options).fingerprint

    torch.manual_seed(1)
    base = fingerprint(seed=0)
    torch.manual_seed(2)
    assert fingerprint(seed=0) == base
    assert fingerprint(seed=0, batch_size=7) == base  # the batch is no part of the data
    others = [fingerprint(seed=1), fingerprint(pattern=(1, 0, 1)), fingerprint(length=21), fingerprint(balance=0.4)]
    assert len({base, *others}) == 5


def test_more_training_data_leaves_the_test_split_as_it_is(standard):
    assert contents(PatternData(train_size=64), "test") == contents(standard, "test")


def test_always_answering_alike_stands_beside_the_result(standard):
    table = standard.reference_table()
    assert table["accuracy"] == {"optimum": 1.0, "majority": 0.5}
    assert table["loss"]["majority"] == pytest.approx(math.log(2))
    assert table["auroc"] == {"optimum": 1.0, "majority": 0.5}


def test_majority_of_the_textbook_task_is_nearly_always_right():
    data = PatternData(balance=None, train_size=4000, test_size=4000)
    positives = int(data.labels("test").sum())
    reference = data.references()["accuracy"]
    assert reference["majority"] == pytest.approx(positives / 4000)
    # By hand: half of the strings hold 110 for certain, the others with all but those that avoid it, F(n+3) - 1 of 2^n
    # (after two ones in a row only ones may follow), where F is Fibonacci's.
    fibonacci = [0, 1]
    while len(fibonacci) < 24:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    avoiding = fibonacci[23] - 1
    assert reference["majority_expected"] == pytest.approx(0.5 + 0.5 * (1 - avoiding / 2**20), rel=1e-12)
    assert "98.63% of the sequences are expected to contain it" in data.prepared.facts[1]
    # 0.9863 of the strings of a split, drawn by chance: five deviations of a binomial
    assert positives / 4000 == pytest.approx(0.9863, abs=5 * math.sqrt(0.9863 * 0.0137 / 4000))


def test_majority_takes_the_class_most_common_in_training():
    data = PatternData(balance=0.8, train_size=100, val_size=100, test_size=1000)
    assert data.references()["accuracy"]["majority"] == pytest.approx(0.8)
    assert data.references()["loss"]["majority"] == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))


def test_loaders_cover_their_splits(standard):
    for loader, split in ((standard.val_dataloader(), "val"), (standard.test_dataloader(), "test")):
        joined = torch.cat([batch.inputs for batch in loader])
        assert torch.equal(joined, standard.prepared.splits[split].inputs)
    seen = torch.cat([batch.inputs for batch in standard.train_dataloader()])
    assert sorted(map(str, seen.flatten(1).tolist())) == sorted(
        map(str, standard.prepared.splits["train"].inputs.flatten(1).tolist())
    )
