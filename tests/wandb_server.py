"""A W&B server of a few lines: it answers what a run and an upload ask for, and keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a" * 40


class Server(ThreadingHTTPServer):
    """Keeps the operations that were asked for, the rows of each run, and the names of the files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.operations: list[tuple[str, dict[str, Any]]] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.uploads: list[str] = []
        self.exit_codes: dict[str, int] = {}
        self.answering = threading.Event()
        self.answering.set()
        self.silent_after = ""  # an operation, from which on nothing is answered

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of a test's business."""

    def asked(self, name: str) -> list[dict[str, Any]]:
        """Return the variables of each time that an operation was asked for."""
        return [variables for operation, variables in self.operations if operation == name]

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data that a GraphQL operation gets."""
        owner = {"id": "p", "name": "cellstate", "entity": {"id": "e", "name": "me"}}
        bucket = {
            **{"id": "b", "name": variables.get("name"), "displayName": "d", "description": "", "config": "{}"},
            **{"sweepName": None, "project": owner, "historyLineCount": 0},
        }
        artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": "a"}}}
        files = [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in variables.get("files", [])]
        return {
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": True}},
            "RunResumeStatus": {"model": {"bucket": None}},
            "Viewer": {"viewer": {"id": "v", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}}},
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "CreateArtifact": {"createArtifact": {"artifact": artifact}},
            "UseArtifact": {"useArtifact": {"artifact": {"id": "a"}}},
            "CreateRunFiles": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}},
            "ArtifactType": {"project": {"artifact": None}},
        }.get(operation, {})


class Handler(BaseHTTPRequestHandler):
    """Takes requests apart."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def take(self) -> None:
        """Answer one request, once the server answers at all."""
        self.server.answering.wait()
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        data: dict[str, Any] = {}
        if self.path == "/graphql":
            request = json.loads(content)
            named = re.match(r"\s*(?:query|mutation)\s+(\w+)", request["query"])
            operation, variables = named[1] if named else "", request.get("variables") or {}
            self.server.operations.append((operation, variables))
            data = {"data": self.server.answer(operation, variables)}
        elif self.path.endswith("/file_stream"):
            run, sent = self.path.split("/")[4], json.loads(content)
            lines = (sent.get("files") or {}).get("wandb-history.jsonl", {}).get("content", [])
            self.server.rows.setdefault(run, []).extend(map(json.loads, lines))
            if sent.get("complete"):
                self.server.exit_codes[run] = sent.get("exitcode")
        elif self.path.startswith("/upload/"):
            self.server.uploads.append(self.path.removeprefix("/upload/"))
        answer = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        if self.server.silent_after and self.server.asked(self.server.silent_after):
            self.server.answering.clear()

    do_GET = do_POST = do_PUT = take  # noqa: N815


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for as long as the work inside takes."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()
