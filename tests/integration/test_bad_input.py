"""Bad input gets one clear line for each problem, the exit status 2, and leaves no folder behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import TINY, Answer, Command, every_third, series_rows, write_csv

SERIES = ("experiment=series", "trainer.max_epochs=1", "report=false")
TEXT = ("experiment=char_lm", "trainer.max_epochs=1", "report=false")


def refused(answer: Answer, *expected: str) -> None:
    """Hold that a request was refused: a line for each of ``expected`` fragments, status 2, and no folder made."""
    assert answer.status == 2, answer.stderr
    assert len(answer.errors) == len(expected), answer.stderr
    for line, fragment in zip(answer.errors, expected, strict=True):
        assert line.startswith("cellstate: error: ")
        assert fragment in line
        assert "hydra.cc" not in line
    assert answer.stdout == ""
    assert not Path("outputs").exists()


@pytest.fixture
def series(cellstate: Command) -> Command:
    return lambda *words: cellstate("train", *SERIES, *words)


@pytest.fixture
def text(cellstate: Command) -> Command:
    return lambda *words: cellstate("train", *TEXT, *words)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("experiment", ["series", "char_lm"])
def test_a_missing_file_is_named_with_the_nearest_one(cellstate: Command, experiment: str) -> None:
    Path("prices.dat").write_text("x")
    answer = cellstate("train", f"experiment={experiment}", "data.path=price.dat")
    refused(answer, "data.path=price.dat: no such file; did you mean 'prices.dat'?")


@pytest.mark.parametrize("experiment", ["series", "char_lm"])
def test_an_empty_file_is_refused(cellstate: Command, experiment: str) -> None:
    Path("empty").write_text("")
    refused(cellstate("train", f"experiment={experiment}", "data.path=empty"), "data.path=empty: the file is empty")


@pytest.mark.parametrize("experiment", ["series"])
def test_a_folder_is_no_file(cellstate: Command, experiment: str) -> None:
    Path("folder").mkdir()
    refused(cellstate("train", f"experiment={experiment}", "data.path=folder"), "data.path=folder: not a file")


def test_bytes_that_are_not_utf8_are_named_by_line(text: Command, series: Command) -> None:
    Path("bad.txt").write_bytes(b"one\ntwo\nth\xffree\n")
    refused(text("data.path=bad.txt"), "bad.txt, line 3: byte 0xff is not UTF-8")
    Path("bad.csv").write_bytes("\n".join(["time,load", *series_rows(200), "caf"]).encode() + b"\xe9,1\n")
    refused(series("data.path=bad.csv"), "bad.csv, line 202: byte 0xe9 is not UTF-8")


def test_a_corrupt_parquet_file_is_refused(series: Command) -> None:
    Path("bad.parquet").write_bytes(b"PAR1 and nothing that belongs there")
    refused(series("data.path=bad.parquet"), "data.path=bad.parquet: cannot be read as a table")


# ---------------------------------------------------------------------- series


def test_a_column_that_is_not_there_is_answered_with_those_that_are(series: Command) -> None:
    write_csv(Path("a.csv"), series_rows())
    refused(
        series("data.path=a.csv", "data.target=laod"),
        "no column 'laod' for data.target; did you mean 'load'? (columns: time, load)",
    )
    refused(series("data.path=a.csv", "data.target=load", "data.time=when"), "no column 'when' for data.time")


def test_which_column_must_be_said_where_several_are_numeric_or_none(series: Command) -> None:
    write_csv(Path("two.csv"), [f"{row},1,dry" for row in series_rows()], header="time,load,price,weather")
    refused(series("data.path=two.csv"), "numeric columns: load, price; set data.target=COLUMN")
    write_csv(Path("none.csv"), [f"{row.split(',')[0]},word" for row in series_rows()])
    refused(series("data.path=none.csv"), "no column is numeric")


def test_one_and_the_same_column_is_not_forecast_twice(series: Command) -> None:
    write_csv(Path("a.csv"), series_rows())
    refused(
        series("data.path=a.csv", "data.target=[load,load]"),
        "data.target=[load,load]: give one or more",
    )
    refused(series("data.path=a.csv", "data.target=[]"), "data.target=[]: give one or more different columns")


Damage = Callable[[list[str]], list[str]]


def replaced(**cells: str) -> Damage:
    """Put other text in the place of rows: ``row_10="…"``."""

    def damage(rows: list[str]) -> list[str]:
        changed = {int(name.removeprefix("row_")): text for name, text in cells.items()}
        return [changed.get(number, row) for number, row in enumerate(rows)]

    return damage


DAMAGED: dict[str, tuple[Damage, str]] = {
    "text in a numeric column": (
        replaced(row_10="2026-01-01 10:00:00,many"),
        "line 12: column 'load' contains 'many', which is not a number",
    ),
    "empty cells and NaN": (
        replaced(row_10="2026-01-01 10:00:00,", row_12="2026-01-01 12:00:00,NaN"),
        "lines 12, 14: column 'load' is empty or not finite in 2 rows",
    ),
    "a gap": (lambda rows: rows[:50] + rows[53:], "line 52: a gap in the series"),
    "unsorted times": (
        lambda rows: [*rows[:20], rows[21], rows[20], *rows[22:]],
        "line 23: the time 2026-01-01 20:00:00 comes after 2026-01-01 21:00:00",
    ),
    "a time twice": (
        lambda rows: rows[:30] + rows[29:],
        "line 32: the time 2026-01-02 05:00:00 occurs twice",
    ),
    "irregular times": (
        replaced(row_40="2026-01-02 16:07:00,1.0"),
        "line 42: the time goes from 2026-01-02 15:00:00 to 2026-01-02 16:07:00",
    ),
    "a time that is none": (
        replaced(row_10="yesterday,1.0"),
        "line 12: column 'time' contains 'yesterday', which is not a time",
    ),
    "no time in a row": (replaced(row_10=",1.0"), "line 12: column 'time' (data.time) has no time"),
    "a row too wide": (
        replaced(row_10="2026-01-01 10:00:00,1.0,extra"),
        "line 12: 3 cells in a table of 2 columns",
    ),
    "a row too short": (
        replaced(row_10="2026-01-01 10:00:00"),
        "line 12: 1 cells in a table of 2 columns",
    ),
    "a header and no rows": (lambda _: [], "the table has a header but no rows"),
    "a single row": (lambda rows: rows[:1], "1 row; a series needs at least 2"),
    "one value throughout": (
        lambda rows: [f"{row.split(',')[0]},7" for row in rows],
        "column 'load' is constant over all training rows",
    ),
    "fewer rows than a window and a horizon": (
        lambda rows: rows[:20],
        "the series is too short: it has 20 rows, 14 of them in the train split, but one sample needs 26",
    ),
}


@pytest.mark.parametrize("kind", every_third(list(DAMAGED), 0))
def test_a_damaged_series_is_refused_with_its_file_and_line(series: Command, kind: str) -> None:
    damage, complaint = DAMAGED[kind]
    write_csv(Path("damaged.csv"), damage(series_rows()))
    answer = series("data.path=damaged.csv", "data.target=load")
    refused(answer, complaint)
    assert "damaged.csv" in answer.errors[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    every_third(
        [
            (["data.window=400"], "one sample needs 424 (data.window=400 plus data.horizon=24)"),
            (["data.horizon=200"], "data.horizon=200"),
            (["data.split=[-1,0.5,0.5]"], "give training, validation and test"),
            (["data.split=[0.9,0.5,0.5]"], "the shares sum to 1.9"),
            (["data.split=[1000,100,100]"], "needs 1,200 rows, but the series has 300"),
            (["data.split=[0.9,0.1]"], "data.split=[0.9,0.1]: should be a list of at least 3 values"),
            (["data.split=half"], "data.split=half: should be a list"),
            (["data.split=[0.9,0,0.1]"], "must not be empty"),
            (["data.batch_size=100000"], "data.batch_size=100000 is larger than the training split"),
            (
                ["model.segment=7", "data.window=50"],
                "model.segment=7 does not divide data.window=50; set data.window=49",
            ),
            (["backbone.bidirectional=true"], "backbone.bidirectional=true: a forecast uses the last step"),
        ],
        0,
    ),
)
def test_window_horizon_and_split_must_leave_samples(series: Command, words: list[str], complaint: str) -> None:
    write_csv(Path("a.csv"), series_rows())
    refused(series("data.path=a.csv", *words), complaint)


@pytest.mark.parametrize("model", ["lstm_classifier", "gru_regressor", "char_lm"])
def test_a_model_for_another_task_is_one_line_whatever_the_experiment_sets_of_its_own(
    series: Command, model: str
) -> None:
    write_csv(Path("a.csv"), series_rows())
    answer = series("data.path=a.csv", f"model={model}")
    refused(answer, "but data=series needs a model that forecasts time series; choose one with model=NAME: ")
    assert answer.errors[0].endswith(": forecaster, gru_forecaster, lstm_forecaster")


# ---------------------------------------------------------------------- text


def test_a_text_must_hold_something_to_predict(text: Command) -> None:
    Path("one.txt").write_text("a" * 5000)
    refused(text("data.path=one.txt"), "one.txt: the training text contains only one symbol ('a')")


def test_a_text_too_short_for_its_streams_is_told_which_number_would_do(text: Command) -> None:
    Path("short.txt").write_text("abcab\n" * 10)
    refused(
        text("data.path=short.txt", "data.batch_size=40", "data.eval_streams=20"),
        "data.batch_size=40 is too large for the train split of 54 characters",
        "data.eval_streams=20 is too large for the val split of 6 characters",
    )


def test_a_language_model_reads_one_way_and_splits_add_up(text: Command) -> None:
    Path("a.txt").write_text("to be or not to be, that is the question\n" * 50)
    refused(text("data.path=a.txt", "backbone.bidirectional=true"), "a language model must not see the token it predi")
    refused(text("data.path=a.txt", "data.split=[0.9,0.5,0.5]"), "data.split=[0.9,0.5,0.5]: give the shares")


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("words", "complaint"),
    every_third(
        [
            (["data.length=2"], "data.length=2 is shorter than the pattern 110"),
            (["data.pattern=[1,2,0]"], "data.pattern=[1,2,0]: a pattern is a list of one or more 0 and 1"),
            (["data.pattern=[]"], "data.pattern=[]: a pattern is a list"),
            (["data.pattern=110"], "data.pattern=110: should be a list"),
            (["data.batch_size=0"], "data.batch_size=0: should be greater than 0"),
            (["data.batch_size=65"], "data.batch_size=65 is larger than the training split, which has 64 samples"),
            (["seed=-1"], "seed=-1: should be an integer from 0 to"),
            (["seed=abc"], "seed=abc: should be an integer"),
            (["seed=4294967296"], "seed=4294967296: should be an integer"),
            (["backbone.hidden_size=big"], "backbone.hidden_size=big: should be a valid integer"),
            (["backbone.hidden_size=3.5"], "backbone.hidden_size=3.5: should be a valid integer"),
            (["backbone.hidden_size=null"], "backbone.hidden_size=null: should be a valid integer"),
            (["backbone.bidirectional=maybe"], "backbone.bidirectional=maybe: should be a valid boolean"),
            (["backbone.dropout=1.5"], "backbone.dropout=1.5: should be less than 1"),
            (["backbone.chrono_steps=1"], "chrono_steps, the longest expected dependency"),
            (["model.pooling=first"], "model.pooling=first: should be 'last', 'mean', 'max' or 'attention'"),
            (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
            (["quiet=perhaps"], "quiet=perhaps: should be true or false"),
            (["trainer.max_epochs=0"], "trainer.max_epochs=0: nothing would be trained"),
            (["trainer.limit_val_batches=0"], "trainer.limit_val_batches=0: the best checkpoint is selected by"),
            (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1: a norm cannot be negative"),
            (["trainer.max_time=soon"], "is not a valid duration"),
            (["callbacks.early_stopping.monitor=val/los"], "unknown metric; did you mean 'val/loss'?"),
            (["scheduler=plateau", "scheduler.monitor=val/acuracy"], "did you mean 'val/accuracy'?"),
            (
                ["model=forecaster"],
                "model=Forecaster: forecasts time series, but data=pattern needs a model that classifies",
            ),
            (["model=language_model"], "model=LanguageModel: predicts symbols, but data=pattern needs a model that"),
            (["+backbone.input_size=3"], "backbone.input_size: is filled in by cellstate"),
            (["backbone._target_=no.Such"], "backbone._target_=no.Such: class not found"),
            (["~optimizer"], "optimizer: is missing; choose one with optimizer=NAME"),
            (["backbone.hidden_size=10000000000"], "does not fit into memory; set a smaller backbone.hidden_size"),
            (["backbone.hidden_size=1000000000000"], "does not fit into memory; set a smaller backbone.hidden_size"),
            (["backbone.hidden_size=100000000000000000000"], "is too large; the limit is"),
            (["backbone.num_layers=100000000"], "backbone.num_layers=100000000: should be less than or equal to 1000"),
            (["backbone.hidden_size=1000000"], "the network has 4,000,014,000,002 parameters, whose training needs"),
        ],
        0,
    ),
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_refused_with_its_key(train: Command, words: list[str], complaint: str) -> None:
    refused(train(*words), complaint)


def test_a_gpu_that_is_not_there_is_refused(train: Command) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is an accelerator here")
    refused(train("trainer=gpu"), "no GPU is available; use trainer=cpu")


def test_all_problems_are_told_at_once(train: Command) -> None:
    refused(
        train("backbone.hidden_size=-1", "data.batch_size=0", "seed=-1", "optimizer.lr=fast", "+model.poling=last"),
        "seed=-1: should be an integer",
        "data.batch_size=0: should be greater than 0",
        "model.poling: unknown key; did you mean 'model.pooling'?",
        "backbone.hidden_size=-1: should be greater than 0",
        "optimizer.lr=fast: should be a valid number",
    )


# ---------------------------------------------------------------------- keys and choices


@pytest.mark.parametrize(
    ("word", "complaint"),
    every_third(
        [
            ("backbone.hiden_size=3", "backbone.hiden_size: unknown key; did you mean 'backbone.hidden_size'?"),
            ("+backbone.hiden_size=3", "backbone.hiden_size: unknown key; did you mean 'backbone.hidden_size'?"),
            ("sed=3", "sed: unknown key; did you mean 'seed'?"),
            ("+sed=3", "sed: unknown key; did you mean 'seed'?"),
            ("bakbone=gru", "bakbone: unknown key; did you mean 'backbone'?"),
            ("callbacks.early_stopping.patiense=3", "did you mean 'callbacks.early_stopping.patience'?"),
            ("backbone.foo=3", "backbone.foo: unknown key; available: bidirectional, "),
            ("~backbone.foo", "~backbone.foo: unknown key"),
            ("backbone=lstn", "backbone=lstn: unknown backbone; did you mean 'lstm'?"),
            ("experiment=patern", "experiment=patern: unknown experiment; did you mean 'pattern'?"),
            ("data=null", "data=null: is not a data config; choose one of "),
            ("+trainer.max_steps=3", "+trainer.max_steps: already exists; remove the +"),
            ("seed=0,1", "seed=0,1: several values; add -m to run with each of them"),
            ("seed=${foo}", "seed: ${foo} refers to an unknown key"),
            ("backbone.hidden_size=${data.lenght}", "${data.lenght} refers to an unknown key; did you mean"),
            ("backbone.hidden_size=[1", "backbone.hidden_size=[1: a ']' is missing"),
            ("data.pattern={1", "data.pattern={1: a '}' is missing"),
            ("data.path='a", "data.path='a: a quote (') is not closed"),
            ("data.path=a=b", "data.path=a=b: the value contains special characters; quote it"),
            ("backbone.hidden_size", "backbone.hidden_size: has no value; write backbone.hidden_size=VALUE"),
            ("=3", "=3: has no key; write KEY=VALUE"),
            ("a b=3", "a b=3: 'a b' is not a valid key"),
            ("--multrun", "--multrun: unknown option; did you mean '--multirun'?"),
            ("--cfg=jobs", "invalid choice: 'jobs' (choose from"),
            ("+backbone=gru", "+backbone: is already chosen; remove the +"),
            ("comparison=memory", "comparison: unknown config group or key; available: "),
            ("callbacks=[default,defualt]", "callbacks=[defualt]: unknown callbacks; did you mean 'default'?"),
        ],
        0,
    ),
)
def test_a_wrong_word_is_refused_with_what_was_meant(train: Command, word: str, complaint: str) -> None:
    refused(train(word), complaint)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-m", "--cfg", "job"], "-m and --cfg: are mutually exclusive"),
        (["--resolve"], "----resolve: requires --cfg or --help"),
        (["--experimental-rerun", "config.pickle"], "--experimental-rerun: is not supported"),
    ],
)
def test_options_that_mean_nothing_are_refused(train: Command, words: list[str], complaint: str) -> None:
    refused(train(*words), complaint)


def test_all_wrong_words_are_told_at_once(train: Command) -> None:
    refused(
        train("backbone=lstn", "sed=3", "seed=0,1"),
        "backbone=lstn: unknown backbone",
        "sed: unknown key",
        "seed=0,1: several values",
    )
    refused(train("backbone=lstm,gruu", "-m"), "backbone=gruu: unknown backbone; did you mean 'gru'?")


def test_a_grid_needs_values(train: Command) -> None:
    refused(
        train("-m", "optimizer.lr=interval(0.1,1)"),
        "optimizer.lr=interval(0.1,1): is not a list of values; write optimizer.lr=VALUE,VALUE, or use sweep=search",
    )


def test_all_unreadable_words_are_told_at_once(train: Command) -> None:
    refused(train("data.pattern=[1", "seed"), "data.pattern=[1: a ']' is missing", "seed: has no value")


@pytest.mark.parametrize("word", ["data.split={val: 24, test: 24}", "data.target=[a, b]", "+a={b: [1, 2], c: 3}"])
def test_a_word_that_the_shell_split_is_one_line_with_the_quotes_it_needs(train: Command, word: str) -> None:
    refused(
        train("seed=1", *word.split(" "), "backbone.hidden_size=[1"),
        f"{word}: was split at its spaces by the shell; quote it: '{word}'",
        "backbone.hidden_size=[1: a ']' is missing",
    )


# ---------------------------------------------------------------------- the user's own configs


@pytest.fixture
def experiment(working_folder: Path) -> Callable[[str], str]:
    """Write an experiment of the user's own, ``mine``, and return its folder."""

    def write(content: str) -> str:
        folder = working_folder / "configs"
        (folder / "experiment").mkdir(parents=True, exist_ok=True)
        (folder / "experiment" / "mine.yaml").write_text(content)
        return str(folder)

    return write


HEAD = "# @package _global_\ndefaults:\n  - pattern\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HEAD + "backbone:\n  hiden_size: 3\n", "backbone.hiden_size: unknown key; did you mean 'backbone.hidden_si"),
        (HEAD + "traner:\n  max_epochs: 3\n", "traner: unknown key; did you mean 'trainer'?"),
        (HEAD + "backbone:\n  hidden_size: big\n", "backbone.hidden_size=big: should be a valid integer"),
        (HEAD + "  - override /backbone: lstn\n", "backbone=lstn: unknown backbone; did you mean 'lstm'?"),
        (HEAD + "backbone: [1\nseed: 3\n", "mine.yaml, line 5: not valid YAML"),
        ("backbone:\n  hidden_size: 3\n", "add '# @package _global_' as the first line of its file"),
    ],
    ids=["unknown key", "unknown at the top", "wrong type", "unknown choice", "no YAML", "no package"],
)
def test_a_mistake_in_an_experiment_of_ones_own_is_named(
    cellstate: Command, experiment: Callable[[str], str], content: str, complaint: str
) -> None:
    refused(cellstate("train", "experiment=mine", "--config-dir", experiment(content)), complaint)


def test_a_typo_in_an_override_of_an_experiment_of_ones_own_finds_the_nearest_key(
    cellstate: Command, experiment: Callable[[str], str]
) -> None:
    folder = experiment(HEAD + "  - override /backbone: rnn\n")
    answer = cellstate("train", "experiment=mine", "--config-dir", folder, "backbone.nonlinerity=relu")
    refused(answer, "did you mean 'backbone.nonlinearity'?")
    answer = cellstate("train", "experiment=mien", "--config-dir", folder)
    refused(answer, "experiment=mien: unknown experiment; did you mean 'mine'?")


def test_a_config_folder_that_is_not_there_is_refused(cellstate: Command) -> None:
    for command in ("train", "list"):
        refused(cellstate(command, "--config-dir", "nowhere"), "--config-dir nowhere: no such folder")


# ---------------------------------------------------------------------- where the run is to go


@pytest.mark.parametrize("folder", ["/proc/run", "file/run", "file"])
def test_a_folder_that_cannot_be_made_is_refused(train: Command, folder: str) -> None:
    Path("file").write_text("not a folder")
    refused(train(f"hydra.run.dir={folder}"), "no run can be written there")
    assert Path("file").read_text() == "not a folder"


def test_a_folder_that_holds_a_run_is_refused_and_untouched(train: Command) -> None:
    assert train("hydra.run.dir=first", "test=false").status == 0
    before = {path: path.read_bytes() for path in sorted(Path("first").rglob("*")) if path.is_file()}
    refused(train("hydra.run.dir=first", "seed=1"), "first: the folder already contains a run")
    assert {path: path.read_bytes() for path in sorted(Path("first").rglob("*")) if path.is_file()} == before


def test_a_folder_with_an_unfinished_run_names_the_command_that_resumes_it(train: Command) -> None:
    assert train("hydra.run.dir=first", "optimizer.lr=1e39", "trainer.max_epochs=3").status == 1
    refused(train("hydra.run.dir=first", "seed=1"), "resume it with: cellstate train run=first")


def test_a_refused_request_keeps_the_folders_of_the_user(train: Command) -> None:
    Path("mine/empty").mkdir(parents=True)
    refused(train("hydra.run.dir=.", "seed=-1"), "seed=-1")
    refused(train("hydra.run.dir=mine/empty/run", "seed=-1"), "seed=-1")
    assert Path("mine/empty").is_dir()


# ---------------------------------------------------------------------- tracebacks


def test_a_traceback_appears_with_hydra_full_error_and_only_then(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Traceback" not in train("seed=-1").stderr
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for word in ("seed=-1", "backbone.hiden_size=3"):
        answer = train(word)
        assert answer.status == 2
        assert "Traceback" in answer.stderr
        assert answer.errors[-1].startswith("cellstate: error: ")


def test_the_tiny_run_of_these_tests_is_accepted(train: Command) -> None:
    answer = train()
    assert (answer.status, len(list(Path("outputs/runs/pattern").iterdir()))) == (0, 1)
    assert TINY[0] == "trainer.max_epochs=1"
