"""Puts what Hydra has to say about a wrong request into one line: what is wrong, where, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from cellstate.errors import RequestError, did_you_mean

# Launchers that come with an extra of the package.
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


def explain(error: Exception, config_name: str, overrides: Sequence[str]) -> Exception:
    """Return a RequestError for what Hydra complains about; any other error is returned as it is.

    Args:
        error: what Hydra raised.
        config_name: the primary config that was asked for.
        overrides: what stood on the command line, ``hydra.searchpath`` for a folder of the user's own included.
    """
    if isinstance(error, MarkedYAMLError):
        return RequestError(_bad_yaml(error))
    if isinstance(error, ValueError) and "Config group override must be" in str(error):
        return RequestError(*wrong) if (wrong := list(_wrong_choices(overrides))) else error
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return error
    if isinstance(error, OverrideParseException) and (unreadable := list(_unreadable(overrides))):
        return RequestError(*unreadable)
    message = str(error)
    for pattern, explanation in _EXPLANATIONS:
        if found := re.search(pattern, message, re.DOTALL):
            return RequestError(explanation(found, config_name, overrides))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return RequestError(" ".join(lines[:2]))


def _bad_yaml(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name.strip()}, line {mark.line + 1}" if mark else "a config file"
    return f"{where}: not valid YAML ({error.problem}); mend the file"


def _wrong_choices(overrides: Sequence[str]) -> Iterator[str]:
    """Yield a line for each ``GROUP=VALUE`` whose value is no name, and for each ``=VALUE``."""
    from cellstate.config.compose import config_folder

    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group, word = override.key_or_group, str(override.input_line)
        if not group.strip():
            yield f"{word}: has no key; write KEY=VALUE"
        elif (config_folder() / group).is_dir() and not isinstance(override.value(), (str, list)):
            names = sorted(file.stem for file in (config_folder() / group).glob("*.yaml"))
            yield f"{word}: names no {group}; there are: {', '.join(names)}"


def _unreadable(overrides: Sequence[str]) -> Iterator[str]:
    """Yield a line for each override that is not ``KEY=VALUE`` in Hydra's grammar."""
    parser = OverridesParser.create()
    for word in overrides:
        try:
            parser.parse_override(word)
        except HydraException:
            yield f"{word}: {_why_unreadable(word)}"


def _why_unreadable(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"has no value; write {word}=VALUE"
    if not key.strip():
        return "has no key; write KEY=VALUE"
    if not re.fullmatch(r"(~|\+{0,2})[\w./@:$-]+", key):
        return f"{key!r} cannot be a key; write KEY=VALUE"
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            missing = closing if value.count(opening) > value.count(closing) else opening
            return f"a {missing!r} is missing"
    for quote in "'\"":
        if value.count(quote) % 2:
            return f"a quote ({quote}) is not closed"
    return f"the value holds special characters; put it in quotes, '{key}=\"{value}\"'"


def _missing_choice(found: re.Match[str], *_: object) -> str:
    group, options = found[2], re.findall(r"\t(\S+)", found[3])
    choice = found[1].removeprefix(f"{group}/")
    if group == "hydra/launcher" and choice in EXTRAS:
        return f"{group}={choice}: is not installed; pip install 'cellstate[{EXTRAS[choice]}]'"
    return f"{group}={choice}: there is no such {group}{did_you_mean(choice, options)}"


def _missing_member(found: re.Match[str], *_: object) -> str:
    from cellstate.config.compose import config_folder

    group, choice = found[1], found[2]
    options = [file.stem for file in (config_folder() / group).glob("*.yaml")]
    return f"{group}=[{choice}]: there is no such {group}{did_you_mean(choice, options)}"


def _unknown_group(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    key = found[1]
    return f"{key}: unknown config group or key{did_you_mean(key, _known_keys(config_name, overrides))}"


def _unknown_key(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    return f"{found[1]}: unknown key{_nearest_key(found[1], config_name, overrides)}"


def _nothing_to_delete(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    return f"~{found[1]}: there is no such key{_nearest_key(found[1], config_name, overrides)}"


def _nearest_key(key: str, config_name: str, overrides: Sequence[str]) -> str:
    """Return a hint at keys of the same section by their last part, else at any key."""
    known = set(_known_keys(config_name, overrides)) - {key}
    section, _, last = key.rpartition(".")
    beside = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
    if section and beside:
        hint = did_you_mean(last, beside)
        return hint.replace("mean '", f"mean '{section}.") if "did you mean" in hint else f"{hint} in {section}"
    hint = did_you_mean(key, known)
    return hint if "did you mean" in hint else did_you_mean("", (name for name in known if "." not in name))


def _ambiguous(found: re.Match[str], *_: object) -> str:
    key, _equals, value = found[1].partition("=")
    return f"{found[1]}: several values; for a run with each of them add -m, for a list write {key}=[{value}]"


def _broken_reference(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    return (
        f"{found[2]}: ${{{found[1]}}} refers to a key that is not there{_nearest_key(found[1], config_name, overrides)}"
    )


_EXPLANATIONS = (
    (r"Could not find '([^']+)'\s+Available options in '([^']+)':(.*?)(?:\n\S|$)", _missing_choice),
    (r"Could not load '([^'/]+)/([^']+)'", _missing_member),  # of several in a list
    (r"Could not override '([^']+)'\.\s*No match in the defaults list", _unknown_group),
    (r"Could not override '([^']+)'", _unknown_key),
    (r"Could not delete[^']*'([^']+)'(?: does not exist| in the defaults list)", _nothing_to_delete),
    (r"Could not append to config\. An item is already at '([^']+)'", lambda found, *_: f"+{found[1]}: is there "
     "already; leave out the +"),
    (r"Could not add '([^']+)'\.\s*'[^']+' is already in the defaults list", lambda found, *_: f"+{found[1]}: is "
     "chosen already; leave out the +"),
    (r"Multiple values for ([^.\s]+)", lambda found, *_: f"{found[1]}: is chosen twice; leave one out"),
    (r"Ambiguous value for argument '([^']+)'", _ambiguous),
    (r"Key '[^']+' is not in struct\s+full_key: (\S+)", _unknown_key),
    (r"Interpolation key '([^']+)' not found\s+full_key: (\S+)", _broken_reference),
    (r"Missing mandatory value: (\S+)", lambda found, *_: f"{found[1]}: a value is needed, give {found[1]}=VALUE"),
    (r"Cannot find primary config '([^']+)'", lambda found, *_: f"--config-name {found[1]}: there is no such config"),
)  # fmt: skip


def _known_keys(config_name: str, overrides: Sequence[str]) -> Iterator[str]:
    """Yield all keys and groups of the config that the overrides would give without the wrong one among them."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from cellstate.config.compose import config_folder

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3", job_name="cellstate"):
        if config_name == "train":  # the other commands choose from no group
            yield from (entry.name for entry in config_folder().iterdir() if entry.is_dir() and entry.name != "hydra")
        chosen = [override for override in overrides if "." not in override.partition("=")[0]]
        folders = [override for override in overrides if override.startswith("hydra.searchpath=")]
        for attempt in ([*chosen, *folders], []):
            try:
                config = compose(config_name, attempt)
            except Exception:  # whatever is wrong with them is not what is being explained here
                continue
            yield from _paths(config)
            return


def _paths(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in config:
        name = f"{prefix}{key}"
        if str(key).startswith("_"):
            continue
        yield name
        if not OmegaConf.is_missing(config, key) and isinstance(config._get_node(key), DictConfig):
            node = config._get_node(key)
            if isinstance(node, DictConfig) and not node._is_none():
                yield from _paths(node, f"{name}.")
