"""What a page says beyond the metrics: its numbers against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

import cellstate
from cellstate.metrics.classification import ClassificationScores
from cellstate.model.classification import figures as classification
from cellstate.model.language import figures as tokens
from cellstate.model.language import positions
from cellstate.model.material import Material
from cellstate.model.next_state import figures as states
from cellstate.model.next_state import sequences as next_states
from cellstate.plotting import calibration
from cellstate.report.configuration import choices, command_line
from cellstate.training.run import Run

SMALL = ["trainer.accelerator=cpu", "backbone.hidden_size=8", "trainer.max_epochs=1", "report=false"]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.txt").write_text("".join(f"line {number % 17} of the text, no more\n" for number in range(300)))
    asked = ["experiment=char_lm", f"data.path={folder}/a.txt", "data.batch_size=8", "data.eval_streams=8"]
    return cellstate.train([*asked, *SMALL, f"hydra.run.dir={folder / 'run'}"])


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("chain")
    draws = np.random.default_rng(0)
    lines = [" ".join(draws.choice(["wake", "work", "sleep"], draws.integers(2, 9))) for _ in range(200)]
    (folder / "days.txt").write_text("\n".join(lines) + "\n")
    asked = ["experiment=next_state", f"data.path={folder}/days.txt", "data.batch_size=16"]
    return cellstate.train([*asked, *SMALL, f"hydra.run.dir={folder / 'run'}"])


def material_of(run: Run) -> Material:
    return Material(run.metrics, run.history, run.data, run.model)


def scores_of(logits: torch.Tensor, targets: torch.Tensor) -> ClassificationScores:
    scores = ClassificationScores()
    scores.update(logits, targets)
    return scores


# ---------------------------------------------------------------------- calibration


def test_the_calibration_error_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=generator)
    targets = torch.randint(0, 4, (500,), generator=generator)
    found = classification.calibration_of(scores_of(logits, targets))
    wanted = multiclass_calibration_error(logits.softmax(1), targets, num_classes=4, n_bins=10, norm="l1")
    assert found.error == pytest.approx(float(wanted), abs=1e-6)
    assert found.counts.sum() == 500


def test_probabilities_that_hold_have_no_calibration_error_and_certainty_that_errs_has_all_of_it():
    draws = np.random.default_rng(0)
    said = draws.uniform(size=200_000)
    assert calibration.reliability(said, draws.uniform(size=200_000) < said).error < 0.005
    assert calibration.reliability(np.ones(10), np.zeros(10, bool)).error == 1.0
    assert calibration.reliability(np.array([0.0, 1.0]), np.array([False, True])).error == 0.0


def test_the_intervals_of_shares_hold_the_truth_as_often_as_they_say():
    draws, truth = np.random.default_rng(0), 0.9
    shares = draws.binomial(40, truth, 20_000) / 40
    low, high = calibration.wilson(shares, np.full(20_000, 40))
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.02)


# ---------------------------------------------------------------------- classes


def test_the_table_of_classes_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(300, 5, generator=generator), torch.randint(0, 5, (300,), generator=generator)
    counts = np.asarray(scores_of(logits, targets).confusion())
    table = classification.class_table(counts, [f"class {number}" for number in range(5)], split="test")
    for column, score in enumerate((multiclass_precision, multiclass_recall, multiclass_f1_score), start=1):
        wanted = score(logits.argmax(1), targets, num_classes=5, average="none")
        assert [row[column] for row in table.rows] == [f"{value:.3f}" for value in wanted]
    assert [int(row[4]) for row in table.rows] == torch.bincount(targets, minlength=5).tolist()


def test_a_class_that_never_occurs_has_no_recall_and_is_not_the_worst():
    counts = np.zeros((30, 30), int)
    counts[:29, :29] = 1 + 9 * np.eye(29, dtype=int)
    table = classification.class_table(counts, [str(number) for number in range(30)], split="test")
    assert len(table.rows) == classification.LISTED
    assert table.more[-1][0] == "29"
    assert table.more[-1][2] == "\u2013"


def test_thousands_of_classes_make_a_table_of_bounded_size():
    counts = np.diag(np.arange(3000))
    table = classification.class_table(counts, [str(number) for number in range(3000)], split="val")
    assert len(table.rows) + len(table.more) == classification.MOST
    assert "3,000 classes" in table.caption


# ---------------------------------------------------------------------- language


def test_the_bits_of_a_symbol_are_those_of_the_probability_that_the_model_gives(text):
    samples, symbols = text.data.prepared.splits["val"], text.data.spec.vocabulary
    window = samples.tokens[100:140].long()
    bits = positions.bits_of(material_of(text), window.unsqueeze(0))[0]
    written = "".join(symbols[token] for token in window.tolist())
    for place in (1, 7, 39):
        probability = text.model.predict(written[:place])[written[place]]
        assert float(bits[place - 1]) == pytest.approx(-math.log2(probability), rel=1e-4)


def test_the_bits_by_position_are_the_means_over_windows(text):
    material = material_of(text)
    found = positions.collect(material)
    assert list(found.seen[:2]) == [1.0, 2.0]
    assert found.seen[-1] <= positions.LENGTH
    samples = text.data.prepared.splits["val"]
    starts = np.unique(np.linspace(0, len(samples.tokens) - positions.LENGTH - 1, positions.WINDOWS).astype(int))
    windows = torch.stack([samples.tokens[start : start + 2] for start in starts.tolist()]).long()
    assert found.windows == len(starts)
    assert found.bits[0] == pytest.approx(float(positions.bits_of(material, windows).mean()), rel=1e-5)


def test_the_shaded_text_is_a_piece_of_the_split_and_its_levels_are_its_bits(text):
    passage = tokens.surprise(material_of(text))
    content = "".join(text.data.spec.vocabulary[token] for token in text.data.prepared.splits["val"].tokens.tolist())
    shown = "".join(part for _, part in passage.parts)
    assert shown in content
    assert len(passage.levels) == len(tokens.LEVELS) + 1
    assert {level for level, _ in passage.parts} <= set(range(len(passage.levels)))
    assert all(one != other for (one, _), (other, _) in zip(passage.parts, passage.parts[1:], strict=False))
    first = content.index(shown)
    level, part = passage.parts[0]
    bits = -math.log2(text.model.predict(content[first - tokens.WARM : first])[part[0]])
    assert level == sum(bits >= bound for bound in tokens.LEVELS)


@pytest.mark.parametrize("content", ["ab" * 40, "a b\n" * 20, "\n\n\nab\n" + "\n" * 80 + "ab"])
def test_texts_without_lines_and_of_blank_lines_have_a_beginning(content):
    symbols = tuple(sorted(set(content)))
    found = torch.tensor([symbols.index(symbol) for symbol in content])
    starts = list(tokens.lines(found, symbols, len(content) // 3))
    assert starts[-1] == len(content) // 3
    assert all(content[start - 1] == "\n" for start in starts[:-1])
    assert all(content[start : start + tokens.PROMPT].strip() for start in starts[:-1])


# ---------------------------------------------------------------------- states


def test_the_probabilities_along_a_sequence_are_those_that_the_model_predicts(chain):
    material = material_of(chain)
    split = material.data.prepared.splits[material.split]
    for one in next_states.collect(material):
        batch = split.batch(torch.tensor([one.row]))
        names = [chain.data.spec.vocabulary[state] for state in batch.inputs[0, : len(one.steps)].tolist()]
        predicted = chain.model.predict([names], every_step=True)
        wanted = np.asarray(predicted["probabilities"][0])
        known = np.asarray([symbol in predicted["vocabulary"] for symbol in chain.data.spec.vocabulary])
        shares = one.probabilities[known] / one.probabilities[known].sum(axis=0)  # without what stands for unknown ones
        np.testing.assert_allclose(shares.T, wanted, rtol=1e-4, atol=1e-6)
        assert list(one.came) == batch.targets[0, one.steps].tolist()


def test_every_probability_of_every_place_counts_towards_the_calibration(chain):
    found = states.collect(material_of(chain)).held
    asked = int(states.collect(material_of(chain)).asked.sum())
    assert found.counts.sum() == asked * len(chain.data.spec.vocabulary)
    assert found.observed.sum() == asked
    assert found.predicted.sum() == pytest.approx(asked)


# ---------------------------------------------------------------------- what was asked


def test_choices_leave_out_what_is_off_and_mark_what_was_changed():
    config = {
        "data": {"_target_": "cellstate.data.PatternData", "length": 0, "path": None, "fresh": False, "seed": 3},
        "backbone": {"_target_": "cellstate.backbone.GRU", "sizes": [1, 2.5, None], "part": {"deep": True}},
        "scheduler": {},
        "trainer": {"max_epochs": 3, "devices": 1, "strategy": "ddp"},
    }
    found = choices(config, ["backbone=gru", "data.path=null", "+trainer.devices=1"])
    assert [(one.part, one.name, one.changed) for one in found] == [
        ("data", "PatternData", False),
        ("backbone", "GRU", True),
        ("trainer", "", False),
    ]
    told = [[(setting.text, setting.changed) for setting in one.settings] for one in found]
    assert told == [
        [("length=0", False), ("path=null", True)],
        [("sizes=[1,2.5,null]", False), ("part.deep=true", False)],
        [("max_epochs=3", False), ("devices=1", True), ("strategy=ddp", False)],
    ]


def test_a_command_is_written_as_one_types_it():
    assert command_line({"command": ["cellstate train", "data.path=a b.csv"]}) == "cellstate train 'data.path=a b.csv'"
    assert command_line({"command": ["python", "mine.py"]}) == ""
    assert command_line({}) == ""
