"""``cellstate generate``: what it writes is what the model writes, and what it is told is taken as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.conftest import TINY, Command

import cellstate as package
from cellstate.config.words import verbatim

TEXT = "To be, or not to be, that is the question: what's ${next} = \\ 'here'?\n" * 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a language model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(TEXT)
    words = ["experiment=char_lm", f"data.path={folder / 'text.txt'}", "data.batch_size=8", "data.eval_streams=4"]
    limits = ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "backbone.hidden_size=16", "report=false"]
    return package.train([*words, *limits, f"hydra.run.dir={folder / 'run'}"]).folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a model that writes nothing."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return package.train(["experiment=pattern", *TINY, f"hydra.run.dir={folder}"]).folder


def test_help_and_config_answer_without_torch(working_folder: Path) -> None:
    script = """
import contextlib, io, sys
from cellstate.cli import dispatch
for words in (["generate", "--help"], ["generate", "--cfg", "job", "prompt=To be, or not"], ["generate", "lenght=3"],
              ["generate", "checkpoint=x", "length=-3"], ["generate"]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = dispatch(words)
    print(status, "usage: cellstate generate checkpoint=FILE" in said.getvalue(), "To be, or not" in said.getvalue(),
          [name for name in ("torch", "lightning") if name in sys.modules])
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == [
        "0 True False []",
        "0 False True []",
        *["2 False False []"] * 3,
    ]
    assert child.stderr.splitlines() == [
        "cellstate: error: lenght: unknown key; did you mean 'length'?",
        "cellstate: error: length=-3: should be greater than or equal to 0",
        "cellstate: error: checkpoint: required: a checkpoint file, or a run folder, whose best one is used; "
        "cellstate generate checkpoint=FILE",
    ]
    assert list(working_folder.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"temperature": 0.7, "top_k": 4, "top_p": 0.9, "seed": 5}])
def test_the_command_writes_the_prompt_and_what_the_model_writes(
    cellstate: Command, trained: Path, options: dict
) -> None:
    model = package.load(trained)
    words = [f"{key}={value}" for key, value in options.items()]
    for prompt in ("To be, ", "what's ${next} = \\ '", "not"):
        answer = cellstate("generate", f"checkpoint={trained}", f"prompt={prompt}", "length=60", *words)
        assert answer.status == 0, answer.stderr
        assert answer.stdout.removesuffix("\n") == (prompt + model.generate(prompt, 60, **options)).removesuffix("\n")
    answer = cellstate("generate", f"checkpoint={trained}/checkpoints/best.ckpt", "length=60", *words)
    assert answer.stdout.removesuffix("\n") == model.generate(None, 60, **options).removesuffix("\n")
    assert cellstate("generate", f"checkpoint={trained}", "prompt=be", "length=0").stdout == "be\n"


def test_a_file_takes_exactly_the_text_and_is_not_written_over_unasked(cellstate: Command, trained: Path) -> None:
    model = package.load(trained)
    words = ("generate", f"checkpoint={trained}", "prompt=To", "length=40", "output=out.txt")
    answer = cellstate(*words)
    assert (answer.status, answer.stdout, answer.stderr) == (0, "", "")
    assert Path("out.txt").read_bytes().decode() == "To" + model.generate("To", 40)
    answer = cellstate(*words, "seed=1")
    assert answer.errors == [
        "cellstate: error: output=out.txt: already exists; give another file, or set overwrite=true"
    ]
    assert Path("out.txt").read_bytes().decode() == "To" + model.generate("To", 40)
    assert cellstate(*words, "seed=1", "overwrite=true").status == 0
    assert Path("out.txt").read_bytes().decode() == "To" + model.generate("To", 40, seed=1)
    assert [path.name for path in Path.cwd().iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["prompt=Xyz"],
            "the prompt contains symbols that the model does not know: ['X', 'y', 'z']; known symbols",
        ),
        (["prompt="], "the prompt is empty"),
        (["temperature=hot"], "temperature=hot: should be a valid number"),
        (["temperature=inf"], "temperature must be 0 or more and finite"),
        (["top_k=0"], "top_k=0: should be greater than 0"),
        (["top_p=1.5"], "top_p above 0 and at most 1"),
        (["seed=-1"], "seed=-1: should be greater than or equal to 0"),
        (["seed=99999999999999999999"], "seed=99999999999999999999: "),
        (["length=many"], "length=many: should be a valid integer"),
        (["output=nowhere/out.txt"], "output=nowhere/out.txt: no such folder: nowhere"),
        (["output=."], "output=.: is a folder"),
        (["checkpoint=missing.ckpt"], "checkpoint=missing.ckpt: no such file"),
    ],
)
def test_a_mistake_is_answered_in_one_line(cellstate: Command, trained: Path, words: list[str], complaint: str) -> None:
    answer = cellstate("generate", *([] if "checkpoint" in words[0] else [f"checkpoint={trained}"]), *words)
    assert (answer.status, answer.stdout) == (2, "")
    (line,) = answer.errors
    assert line.startswith("cellstate: error: ")
    assert complaint in line
    assert list(Path.cwd().iterdir()) == []


def test_a_model_that_writes_nothing_is_named(cellstate: Command, classifier: Path) -> None:
    answer = cellstate("generate", f"checkpoint={classifier}")
    (line,) = answer.errors
    assert (answer.status, answer.stdout) == (2, "")
    assert "contains a Classifier, which does not generate text; give the checkpoint of a language model" in line


@pytest.mark.parametrize(
    "prompt",
    [
        *("To be, or not", "What's", 'say "x"', "a\\", "a\\\\", "\\'", "a\\\\'b", "${seed}", "\\${x}", "$x {y}", "1e3"),
        *(
            "007",
            "true",
            "line\nbreak",
            "tab\t",
            "a=b",
            "[1,2]",
            "é😀",
            "",
            " lead ",
            "#x",
            "${",
            "}",
            "$${x}",
            "'",
            '"',
        ),
    ],
)
def test_a_prompt_is_taken_as_it_stands(prompt: str) -> None:
    (word,) = verbatim([f"prompt={prompt}"], "prompt")
    config = OmegaConf.create({"prompt": None, "seed": 5})
    OmegaConf.update(config, "prompt", OverridesParser.create().parse_override(word).value())
    assert config.prompt == prompt


def test_what_stands_in_quotes_or_is_swept_over_is_left_to_hydra() -> None:
    for words in (["prompt='To be'"], ['prompt="a, b"'], ["prompt=null"], ["-m", "prompt=a,b"], ["length=3"]):
        assert verbatim(words, "prompt") == words
