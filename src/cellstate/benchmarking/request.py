"""The YAML file of a benchmark: data sets, methods, seeds, published figures. Every problem of it is one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cellstate.config.check import LARGEST_SEED
from cellstate.config.signatures import expected, shown
from cellstate.errors import RequestError, did_you_mean
from cellstate.metrics.table import registered
from cellstate.runs.yaml_file import LOADER, read_yaml
from cellstate.sweep.naming import slug

LONGEST = 80  # characters of a name

Place = tuple[str | int, ...]  # of keys, to a value in the file
# Keys that the benchmark sets for each of its runs -> what sets them.
RESERVED = {
    "seed": "seeds sets it",
    "run": "the benchmark resumes its runs",
    "resume": "the benchmark resumes its runs",
    "hydra": "the benchmark chooses the folders of its runs",
    "ledger": "set it for the command",
    "quiet": "set it for the command",
    "test": "every run scores the test split",
    "debug": "a debug run is not a result",
    "sweep": "every entry of methods is one run for each seed",
    "comparison": "it belongs to cellstate compare",
}


def one_line(text: Any) -> Any:
    """Return a text of several lines, or a number such as the name 2024, as one line; other values unchanged."""
    if isinstance(text, int) and not isinstance(text, bool):
        return str(text)
    return " ".join(text.split()) if isinstance(text, str) else text


def as_list(number: Any) -> Any:
    """Return a single number as a list, as on the command line; other values unchanged."""
    return [number] if isinstance(number, int) and not isinstance(number, bool) else number


Words = list[Annotated[str, Field(min_length=1)]]
Text = Annotated[str, BeforeValidator(one_line)]
Name = Annotated[str, BeforeValidator(one_line), Field(min_length=1, max_length=LONGEST)]
Score = Annotated[float, Field(allow_inf_nan=False)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]], BeforeValidator(as_list), Field(min_length=1)]


class Entry(BaseModel):
    """A part of the file, without unknown keys and with values of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Published(Entry):
    """A figure that others have published, or the best score that is possible.

    Attributes:
        name: of the predictor.
        score: in the metric of its data set.
        source: where it is published.
        also: its scores in other metrics.
        optimum: whether no predictor can be better: it is shown, but not ranked.
    """

    name: Name
    score: Score
    source: Annotated[Text, Field(min_length=1)]
    also: dict[Name, Score] = {}
    optimum: bool = False


class DataSet(Entry):
    """A data set.

    Attributes:
        overrides: of ``cellstate train``, such as its experiment, its paths and keys.
        files: where its files are available, in words.
        group: data sets whose predictors are ranked together.
        metric: that ranks predictors; None: the headline metric of its runs.
        also: further metrics to show.
        methods: names of those to train; None: all.
        seeds: instead of those of the benchmark.
        published: figures to compare with.
    """

    overrides: Words
    files: Text = ""
    group: Annotated[Text, Field(max_length=LONGEST)] = ""
    metric: Name | None = None
    also: list[Name] = []
    methods: Annotated[list[Name], Field(min_length=1)] | None = None
    seeds: Seeds | None = None
    published: list[Published] = []


class Request(Entry):
    """The content of the file.

    Attributes:
        overrides: of all runs.
        seeds: of each method on each data set.
        methods: name -> overrides, which are applied after those of the data set.
        datasets: name -> data set.
    """

    overrides: Words = []
    seeds: Seeds = [0]
    methods: Annotated[dict[Name, Words], Field(min_length=1)] = {"cellstate": []}
    datasets: Annotated[dict[Name, DataSet], Field(min_length=1)]

    def methods_of(self, dataset: DataSet) -> dict[str, list[str]]:
        """Return name -> overrides of the methods of a data set, in the order of the file."""
        return {
            name: words for name, words in self.methods.items() if dataset.methods is None or name in dataset.methods
        }

    def seeds_of(self, dataset: DataSet) -> list[int]:
        """Return the seeds of a data set."""
        return self.seeds if dataset.seeds is None else dataset.seeds


Problem = tuple[Place, str]
NOT_SHOWN = "is not shown; add it to also of the data set"


def read(file: Path) -> Request:
    """Return the content of a benchmark's file.

    Raises:
        RequestError: it cannot be read, or is invalid; one line for each problem, with its line in the file.
    """
    try:
        content = read_yaml(file, resolved=False, remedy="fix the file")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file}: cannot be read ({error.strerror}); give the YAML file of a benchmark") from error
    try:
        request = Request.model_validate(content)
    except ValidationError as error:
        problems = [(found["loc"], in_words(found)) for found in once(error.errors())]
        raise located(file, text, problems) from None
    if problems := list(inconsistencies(request)):
        raise located(file, text, problems)
    return request


def once(found: Sequence[Any]) -> Iterator[Any]:
    """Yield what pydantic found, without the missing keys that were misspelt: an unknown key says so."""
    unknown = [one["loc"] for one in found if one["type"] == "extra_forbidden"]
    meant = {(*above, *get_close_matches(str(key), keys_below(tuple(above)), 1)) for *above, key in unknown}
    yield from (one for one in found if one["type"] != "missing" or one["loc"] not in meant)


def in_words(found: Any) -> str:
    """Return what pydantic found, to follow the key."""
    match found["type"]:
        case "missing":
            return "a value is required"
        case "extra_forbidden":
            *above, key = found["loc"]
            return f"unknown key{did_you_mean(str(key), keys_below(tuple(above)))}"
        case "model_type":
            return f"{shown(found['input'])}: should be a section with the keys {', '.join(keys_below(found['loc']))}"
        case "string_too_short":
            return "should not be empty"
        case "too_short":
            return "should have at least one entry"
    return f"{shown(found['input'])}: should be {expected(found)}"


def keys_below(loc: Place) -> list[str]:
    """Return the keys of the section at a place."""
    kind = Published if "published" in loc else DataSet if loc else Request
    return list(kind.model_fields)


def inconsistencies(request: Request) -> Iterator[Problem]:
    """Yield what is wrong between parts whose types are right."""
    yield from clashes(("methods",), request.methods)
    yield from clashes(("datasets",), request.datasets)
    yield from repeated(("seeds",), request.seeds)
    yield from reserved(("overrides",), request.overrides)
    for name, words in request.methods.items():
        yield from reserved(("methods", name), words)
    for name, dataset in request.datasets.items():
        place = ("datasets", name)
        yield from reserved((*place, "overrides"), dataset.overrides)
        for number, method in enumerate(dataset.methods or []):
            if method not in request.methods:
                yield (*place, "methods", number), f"{method}: unknown method{did_you_mean(method, request.methods)}"
        yield from repeated((*place, "methods"), dataset.methods or [])
        yield from repeated((*place, "seeds"), dataset.seeds or [])
        yield from repeated((*place, "published"), [one.name for one in dataset.published])
        for number, one in enumerate(dataset.published):
            unseen = [metric for metric in one.also if metric not in dataset.also]
            yield from (((*place, "published", number, "also", metric), NOT_SHOWN) for metric in unseen)


def unknown_metrics(request: Request) -> Iterator[Problem]:
    """Yield the metrics without an entry in the table of metrics, whose direction is therefore not known.

    Classes of one's own may add to the table, so they are imported first.
    """
    known = registered()
    for name, dataset in request.datasets.items():
        place = ("datasets", name)
        named: list[Problem] = [] if dataset.metric is None else [((*place, "metric"), dataset.metric)]
        named += [((*place, "also", number), metric) for number, metric in enumerate(dataset.also)]
        for number, one in enumerate(dataset.published):
            named += [((*place, "published", number, "also", metric), metric) for metric in one.also]
        for at, metric in named:
            if metric not in known:
                yield at, f"{metric}: unknown metric{did_you_mean(metric, known)}"


def clashes(place: Place, names: Iterable[str]) -> Iterator[Problem]:
    """Yield the names whose folders would be the same, also where case does not matter."""
    taken: dict[str, str] = {}
    for name in names:
        if (other := taken.setdefault(slug(name).lower(), name)) != name:
            yield (*place, name), f"its folder would be that of {other!r}; give it another name"


def reserved(place: Place, words: Sequence[str]) -> Iterator[Problem]:
    """Yield the overrides that a benchmark cannot have."""
    for number, word in enumerate(words):
        key = word.partition("=")[0].lstrip("+~")
        if (first := re.split(r"[./]", key)[0]) in RESERVED:
            yield (*place, number), f"{word}: cannot be set in a benchmark, as {RESERVED[first]}; remove it"


def repeated(place: Place, values: Sequence[Any]) -> Iterator[Problem]:
    """Yield the values that occur twice."""
    for number, value in enumerate(values):
        if value in values[:number]:
            yield (*place, number), f"{value}: occurs twice"


# ---------------------------------------------------------------------- where it is in the file


def located(file: Path, text: str, problems: Iterable[Problem]) -> RequestError:
    """Return the error for problems at places in a file."""
    line_of = lines(text)
    found = sorted(((line_of(place), key_of(place), what) for place, what in problems), key=lambda one: one[0])
    return RequestError(*(f"{file}, line {line}: {key}{what}" for line, key, what in found))


def key_of(place: Place) -> str:
    """Return ``datasets.NAME.published[0].score: `` for the keys and numbers of a place; empty for the whole file."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if part != "[key]")
    return f"{text.removeprefix('.')}: " if text else ""


def lines(text: str) -> Callable[[Place], int]:
    """Return a function from a place to its line, that of the deepest part which is there."""
    root = yaml.compose(text, Loader=LOADER)

    def line_of(place: Place) -> int:
        node, line = root, 1
        for part in place:
            found = children(node).get(str(part))
            if found is None:
                break
            line, node = found
        return line

    return line_of


def children(node: yaml.Node | None) -> Mapping[str, tuple[int, yaml.Node]]:
    """Return key or number -> line and node."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): (key.start_mark.line + 1, value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return {str(number): (value.start_mark.line + 1, value) for number, value in enumerate(node.value)}
    return {}
