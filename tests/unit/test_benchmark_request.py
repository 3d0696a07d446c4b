"""The file of a benchmark: each problem is one line that names its place, and nothing is trained or run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellstate.benchmarking.plan import plan
from cellstate.benchmarking.process import reason
from cellstate.benchmarking.request import read
from cellstate.benchmarking.running import selected
from cellstate.errors import RequestError

GOOD = """
seeds: [0, 1]
overrides: [report=false]
methods:
  cellstate: []
  GRU: [backbone=gru]
datasets:
  pattern:
    overrides: [experiment=pattern]
    also: [f1]
    published:
      - {name: "Doe's", score: 1, source: "Doe (2020),\\n  table 1", also: {f1: 0.5}}
  2024:
    overrides:
      - experiment=series
      - data.path=my load, of 2024.csv
      - data.horizon=24
    methods: [GRU]
    seeds: [3]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def problems(folder: Path, text: str) -> list[str]:
    file = written(folder, text)
    with pytest.raises(RequestError) as refused:
        plan(read(file), file, folder=folder / "out")
    assert not (folder / "out").exists()
    return [line.removeprefix(str(file)) for line in refused.value.problems]


def test_defaults_are_one_method_with_the_default_recipe_and_one_seed(tmp_path: Path) -> None:
    request = read(written(tmp_path, "datasets: {a: {overrides: [experiment=pattern]}}"))
    assert (request.seeds, request.methods) == ([0], {"cellstate": []})
    assert request.methods_of(request.datasets["a"]) == {"cellstate": []}


def test_all_data_sets_and_methods_come_with_the_first_seed_before_the_second(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.replace("of 2024.csv", "of 2024.csv'").replace("=my load", "='my load"))
    jobs = plan(read(file), file, folder=tmp_path / "out", data_dir=tmp_path / "it's")
    assert [(job.dataset, job.method, job.seed) for job in jobs] == [
        ("pattern", "cellstate", 0),
        ("pattern", "GRU", 0),
        ("2024", "GRU", 3),
        ("pattern", "cellstate", 1),
        ("pattern", "GRU", 1),
    ]
    assert len({job.key for job in jobs}) == len({job.folder for job in jobs}) == len(jobs)
    assert jobs[2].files == (tmp_path / "it's" / "my load, of 2024.csv",)
    assert jobs[2].absent == list(jobs[2].files)
    assert read(file).datasets["pattern"].published[0].source == "Doe (2020), table 1"


def test_paths_start_from_the_folder_of_the_file_unless_they_are_absolute(tmp_path: Path) -> None:
    text = "datasets: {a: {overrides: [experiment=labelled, data.path=a.ts, data.test_path=/b/c.ts]}}"
    file = written(tmp_path, text)
    (job,) = plan(read(file), file, folder=tmp_path / "out")
    assert job.files == (tmp_path / "a.ts", Path("/b/c.ts"))


def test_one_seed_needs_no_list(tmp_path: Path) -> None:
    request = read(written(tmp_path, "seeds: 2\ndatasets: {a: {overrides: [experiment=pattern], seeds: 0}}"))
    assert (request.seeds, request.datasets["a"].seeds) == ([2], [0])


def test_the_command_asks_for_a_part_of_the_runs(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.replace("of 2024.csv", "of 2024.csv'").replace("=my load", "='my load"))
    jobs = plan(read(file), file, folder=tmp_path / "out")
    part = selected(jobs, None, "GRU", 0)
    assert [(job.dataset, job.method, job.seed) for job in part] == [("pattern", "GRU", 0)]
    assert len(selected(jobs, ["pattern"], ["GRU", "cellstate"], None)) == 4
    with pytest.raises(RequestError) as refused:
        selected(jobs, "patern", ["GRUU"], 7)
    assert refused.value.problems == (
        "datasets=patern: the benchmark has no such data set; did you mean 'pattern'?",
        "methods=GRUU: the benchmark has no such method; did you mean 'GRU'?",
        "seeds=7: the benchmark has the seeds 0, 1, 3",
    )
    with pytest.raises(RequestError, match="no run of these datasets, methods and seeds together"):
        selected(jobs, "2024", "cellstate", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "datasets: {a: {override: [experiment=pattern]}, b: {}}",
            [
                ", line 1: datasets.a.override: unknown key; did you mean 'overrides'?",
                ", line 1: datasets.b.overrides: a value is required",
            ],
        ),
        ("datasets: {}", [", line 1: datasets: should have at least one entry"]),
        ("- 1", [", line 1: [1]: should be a section with the keys overrides, seeds, methods, datasets"]),
        ("a: 1\na: 2", [", line 2: not a valid config (found duplicate key a); fix the file"]),
        ("a: [", [", line 2: not a valid config (did not find expected node content); fix the file"]),
        ("a: &x 1\nb: *x", [": contains tags or aliases; fix the file"]),
        ("!!python/object/apply:os.mkdir [out]", [": contains tags or aliases; fix the file"]),
        (
            GOOD.replace("seeds: [3]", "seed: 3").replace("score: 1", "score: high").replace("[0, 1]", "[-1]"),
            [
                ", line 2: seeds[0]: -1: should be greater than or equal to 0",
                ", line 12: datasets.pattern.published[0].score: high: should be a valid number",
                ", line 19: datasets[2024].seed: unknown key; did you mean 'seeds'?",
            ],
        ),
        (
            GOOD.replace("[GRU]", "[GRUU, GRU, GRU]").replace("2024:", "Pattern:").replace("[0, 1]", "[0, 0]"),
            [
                ", line 2: seeds[1]: 0: occurs twice",
                ", line 13: datasets.Pattern: its folder would be that of 'pattern'; give it another name",
                ", line 18: datasets.Pattern.methods[0]: GRUU: unknown method; did you mean 'GRU'?",
                ", line 18: datasets.Pattern.methods[2]: GRU: occurs twice",
            ],
        ),
        (
            GOOD.replace("also: [f1]", "also: [loss]"),
            [", line 12: datasets.pattern.published[0].also.f1: is not shown; add it to also of the data set"],
        ),
    ],
)
def test_each_problem_of_the_file_is_a_line_with_its_place(tmp_path: Path, text: str, said: list[str]) -> None:
    assert problems(tmp_path, text) == said


def test_each_problem_of_an_override_is_a_line_with_its_place(tmp_path: Path) -> None:
    text = (
        GOOD.replace("[backbone=gru]", "[backbone=gruu]")
        .replace("data.horizon=24", "data.horizon=-1")
        .replace("of 2024.csv", "of 2024.csv'").replace("=my load", "='my load")
        .replace("[experiment=pattern]", "[experiment=pattern, data.length=no]\n    metric: acuracy")
    )  # fmt: skip
    assert problems(tmp_path, text) == [
        ", line 6: methods.GRU[0]: backbone=gruu: unknown backbone; did you mean 'gru'?",
        ", line 9: datasets.pattern.overrides[1]: data.length=no: should be a valid integer",
        ", line 10: datasets.pattern.metric: acuracy: unknown metric; did you mean 'accuracy'?",
    ]


def test_experiments_of_ones_own_are_found_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [pattern]\ndata: {length: 7}\n"
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text(text)
    file = written(tmp_path, "datasets: {a: {overrides: [experiment=short]}}")
    (job,) = plan(read(file), file, folder=tmp_path / "out", config_dir=tmp_path / "mine")
    assert job.trains["data"]["length"] == 7


def test_a_failed_process_says_why_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "seed=0.log"
    log.write_text("cellstate: error: of an earlier process\n")
    beginning = log.stat().st_size
    assert reason(log, beginning, -9) == "ended by SIGKILL (is there enough memory?)"
    assert reason(log, beginning, 3) == "exit status 3"
    log.write_text(f"{log.read_text()}Traceback\nValueError: no\n\n")
    assert reason(log, beginning, 1) == "ValueError: no"
    log.write_text(f"{log.read_text()}cellstate: error: one\ncellstate: warning: no\ncellstate: error: two\n")
    assert reason(log, beginning, 2) == "one; two"


@pytest.mark.parametrize(
    "word", ["seed=3", "test=false", "hydra.run.dir=x", "hydra/launcher=joblib", "debug=fast", "+run=x", "ledger=x"]
)
def test_what_the_benchmark_sets_cannot_be_overridden(tmp_path: Path, word: str) -> None:
    (line,) = problems(tmp_path, f"datasets: {{a: {{overrides: [experiment=pattern, {word}]}}}}")
    assert line.startswith(f", line 1: datasets.a.overrides[1]: {word}: cannot be set in a benchmark, as ")
