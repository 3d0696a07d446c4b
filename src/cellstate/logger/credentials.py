"""The mode of W&B and its API key, without prompting."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

from cellstate.errors import RequestError

Mode = Literal["online", "offline", "disabled"]
FORMER: dict[str, Mode] = {"run": "online", "dryrun": "offline"}  # older names that W&B accepts


def wandb_package() -> Any:
    """Import wandb without error reporting and without a shared service process.

    Error reporting would wait for the network at exit. A child process of a tracked run would share the process that
    writes the files, which then outlives a killed child and keeps its run open.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):  # VERSION-PID-unix-SOCKET
        os.environ.pop("WANDB_SERVICE", None)
    import wandb

    return wandb


def chosen_mode(asked: Mode | None) -> Mode:
    """Return online, offline or disabled.

    Args:
        asked: the mode of the config; None: that of ``WANDB_MODE`` or ``wandb offline``, else online if there is a key.

    Raises:
        RequestError: online was requested without a key.
    """
    setting = os.environ.get("WANDB_MODE") or str(wandb_package().setup().settings.mode)
    known: dict[str, Mode] = {name: name for name in get_args(Mode)} | FORMER
    mode = asked or known.get(setting, "online")
    if mode != "online" or has_key():
        return mode
    if asked == "online":
        raise RequestError(
            "logger.wandb.mode=online: no API key; set WANDB_API_KEY, run wandb login, or omit mode to log "
            "offline and upload later with cellstate sync"
        )
    return "offline"


def host() -> str:
    """Return the address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or str(wandb_package().setup().settings.base_url)


def has_key() -> bool:
    """Return whether W&B has an API key: in ``WANDB_API_KEY``, its settings, or netrc.

    Raises:
        RequestError: the key is malformed.
    """
    wandb_package()
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        # wandb.login() prompts or contacts the server; this checks the same places and does neither.
        found = wbauth.authenticate_session(host=host(), source="cellstate", prompt=False, update_session=False)
    except AuthenticationError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RequestError(
            f"logger=wandb: {reason}; copy the key again (see wandb login), or log offline with "
            "logger.wandb.mode=offline"
        ) from error
    return found is not None
