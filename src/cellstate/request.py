"""Puts what Hydra has to say about a wrong request into one line: what is wrong, where, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cellstate.errors import RequestError, did_you_mean


def explain(error: Exception, config_name: str, overrides: Sequence[str]) -> Exception:
    """Return a RequestError for what Hydra complains about; any other error is returned as it is."""
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return error
    message = str(error)
    for pattern, explanation in _EXPLANATIONS:
        if found := re.search(pattern, message, re.DOTALL):
            return RequestError(explanation(found, config_name, overrides))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return RequestError(" ".join(lines[:2]))


def _missing_choice(found: re.Match[str], *_: object) -> str:
    group, options = found[2], re.findall(r"\t(\S+)", found[3])
    choice = found[1].removeprefix(f"{group}/")
    return f"{group}={choice}: there is no such {group}{did_you_mean(choice, options)}"


def _unknown_group(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    key = found[1]
    return f"{key}: unknown config group or key{did_you_mean(key, _known_keys(config_name, overrides))}"


def _unknown_key(found: re.Match[str], config_name: str, overrides: Sequence[str]) -> str:
    key = found[1]
    known = list(_known_keys(config_name, overrides))
    section = key.rpartition(".")[0]
    near = [name for name in known if name.rpartition(".")[0] == section] or known
    return f"{key}: unknown key{did_you_mean(key, near)}"


def _unparsed(found: re.Match[str], *_: object) -> str:
    return f"{found[1]}: cannot be read as KEY=VALUE ({found[2].strip()}); put quotes around special characters"


def _missing_value(found: re.Match[str], *_: object) -> str:
    return f"{found[1]}: a value is needed, give {found[1]}=VALUE"


_EXPLANATIONS = (
    (r"Could not find '([^']+)'\s+Available options in '([^']+)':(.*?)(?:\n\S|$)", _missing_choice),
    (r"Could not override '([^']+)'\.\s*No match in the defaults list", _unknown_group),
    (r"Could not override '([^']+)'", _unknown_key),
    (r"Key '([^']+)' is not in struct", _unknown_key),
    (r"Error parsing override '([^']*)'\s*(.*?)\n", _unparsed),
    (r"(?:LexerNoViableAltException|no viable alternative).*?: (\S+)\s*(.*)", _unparsed),
    (r"Missing mandatory value: (\S+)", _missing_value),
)


def _known_keys(config_name: str, overrides: Sequence[str]) -> Iterator[str]:
    """Yield all keys and groups of the config that the overrides would give without the wrong one among them."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from cellstate.composition import config_folder

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3", job_name="cellstate"):
        yield from (entry.name for entry in config_folder().iterdir() if entry.is_dir())
        chosen = [override for override in overrides if "." not in override.partition("=")[0]]
        for attempt in (chosen, []):
            try:
                config = compose(config_name, attempt)
            except HydraException:
                continue
            yield from _paths(config)
            return


def _paths(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in config:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(config, key) and isinstance(config._get_node(key), DictConfig):
            node = config._get_node(key)
            if isinstance(node, DictConfig) and not node._is_none():
                yield from _paths(node, f"{name}.")
