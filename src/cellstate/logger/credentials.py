"""Whether W&B may go online: what was asked for, and whether there is a key. Nothing here asks a question."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

from cellstate.errors import RequestError

Mode = Literal["online", "offline", "disabled"]
FORMER: dict[str, Mode] = {"run": "online", "dryrun": "offline"}  # names that W&B still takes


def wandb_package() -> Any:
    """Import wandb, without two of its habits.

    Its error reporting would wait for the network as a process ends. And a process that was started by one with a run
    of its own would share the program that writes the files, which then outlives a process that is killed, and holds on
    to its run.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):  # VERSION-PID-unix-SOCKET, of whose process
        os.environ.pop("WANDB_SERVICE", None)
    import wandb

    return wandb


def chosen_mode(asked: Mode | None) -> Mode:
    """Return online, offline or disabled.

    Args:
        asked: what the config asks for; None: what ``WANDB_MODE`` or ``wandb offline`` says, else online where there
            is a key.

    Raises:
        RequestError: online was asked for, and there is no key.
    """
    said = os.environ.get("WANDB_MODE") or str(wandb_package().setup().settings.mode)
    known: dict[str, Mode] = {name: name for name in get_args(Mode)} | FORMER
    mode = asked or known.get(said, "online")
    if mode != "online" or has_key():
        return mode
    if asked == "online":
        raise RequestError(
            "logger.wandb.mode=online: there is no key; set WANDB_API_KEY, or run wandb login, or leave mode out to "
            "log offline and upload later with cellstate sync"
        )
    return "offline"


def host() -> str:
    """Return the address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or str(wandb_package().setup().settings.base_url)


def has_key() -> bool:
    """Say whether W&B finds a key: in ``WANDB_API_KEY``, in its settings, in netrc.

    Raises:
        RequestError: there is one, of a form that no key has.
    """
    wandb_package()
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        # wandb.login() asks on a terminal, or else the server; this looks at the same places and does neither.
        found = wbauth.authenticate_session(host=host(), source="cellstate", prompt=False, update_session=False)
    except AuthenticationError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RequestError(
            f"logger=wandb: {reason}; copy the key anew (wandb login says from where), or log offline with "
            "logger.wandb.mode=offline"
        ) from error
    return found is not None
