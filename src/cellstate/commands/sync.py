"""``cellstate sync``: upload the runs that W&B logged offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellstate.commands.list import Parser
from cellstate.errors import RequestError, RunError

if TYPE_CHECKING:
    from cellstate.logger.uploading import OfflineRun


def run(words: list[str]) -> int:
    """Run the command."""
    parser = Parser("cellstate sync", description="Upload the runs that W&B logged offline.")
    parser.add_argument("folder", nargs="*", default=["outputs"], help="folders to search; default: outputs")
    parser.add_argument("--dry-run", action="store_true", help="only list the runs to upload")
    parser.add_argument("--online", action="store_true", help="also upload runs logged online that lost the connection")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for each run; default: 600")
    try:
        options = parser.parse_args(words)
    except SystemExit as shown:  # by --help
        return int(shown.code or 0)
    places = [Path(folder).expanduser() for folder in options.folder]
    for place in places:
        if not place.is_dir():
            raise RequestError(f"{place}: no such folder; choose one that contains runs")
    from cellstate.logger.uploading import find_runs

    runs = find_runs(places, online=options.online)
    waiting = [offline for offline in runs if not offline.uploaded and not offline.going_on]
    for offline in runs:
        if offline not in waiting:
            print(f"{offline.id}  {'already uploaded' if offline.uploaded else 'still running'}  {offline.folder}")
    if options.dry_run or not waiting:
        for offline in waiting:
            print(f"{offline.id}  to upload  {offline.folder}")
        print(f"{len(waiting)} of {len(runs)} run{'s' if len(runs) != 1 else ''} to upload")
        return 0
    require_server(len(waiting))
    return upload_all(waiting, options.timeout)


def require_server(count: int) -> None:
    """Check for an API key and a reachable server before anything is uploaded."""
    from cellstate.logger.credentials import has_key, host
    from cellstate.logger.uploading import unreachable

    runs = f"{count} run{'s' if count != 1 else ''} not uploaded"
    if not has_key():
        raise RequestError(f"sync: no W&B API key, {runs}; set WANDB_API_KEY, or run wandb login")
    if reason := unreachable(host()):
        raise RunError(f"sync: {host()} does not respond ({reason}), {runs}; try again with a network connection")


def upload_all(waiting: list[OfflineRun], seconds: float) -> int:
    """Upload runs one by one, a line each; a failure does not stop the others."""
    from cellstate.logger.uploading import upload

    failed = []
    for offline in waiting:
        reason = upload(offline, seconds)
        print(f"{offline.id}  {'failed' if reason else 'uploaded'}  {offline.folder}", flush=True)
        if reason:
            failed.append(f"{offline.folder}: was not uploaded ({reason}); try cellstate sync {offline.folder}")
    print(f"{len(waiting) - len(failed)} of {len(waiting)} uploaded")
    if failed:
        raise RunError(*failed)
    return 0
