"""A stand-in for the hub on this machine: the part of its interface that the client needs to fetch a repository."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = (
    b'{"model_type": "llama", "vocab_size": 8, "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, '
    b'"intermediate_size": 8, "max_position_embeddings": 8}'
)
FILES = {
    "config.json": CONFIG,
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "README.md": b"# A model\n",
    "pytorch_model.bin": b"a pickle",
    "onnx/config.json": b"{}",
}


class _Handler(BaseHTTPRequestHandler):
    """Answers for the repositories of its server."""

    server: "_Server"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        for repo, refusal in self.server.refused.items():
            if path.startswith((f"/api/models/{repo}", f"/{repo}/")) and refusal.at in path:
                self._send(b"{}", refusal.status, {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message})
                return
        for repo, files in self.server.repos.items():
            if path in (f"/api/models/{repo}", f"/api/models/{repo}/revision/main"):
                self._send(json.dumps({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": []}).encode())
                return
            if path.startswith(f"/api/models/{repo}/tree/"):
                self._send(json.dumps([_entry(name, content) for name, content in files.items()]).encode())
                return
            name = path.removeprefix(f"/{repo}/resolve/{COMMIT}/")
            if name in files:
                etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
                self._send(files[name], 200, {"ETag": etag, "X-Repo-Commit": COMMIT})
                return
        self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    def _send(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class Refusal:
    """What the hub answers instead of what was asked for, where `at` is in the path."""

    def __init__(self, status: int, code: str = "", message: str = "", at: str = "") -> None:
        self.status, self.code, self.message, self.at = status, code, message, at


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]], refused: Mapping[str, Refusal]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.refused, self.asked = repos, refused, list[str]()


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def hub(
    repos: Mapping[str, Mapping[str, bytes]], refused: Mapping[str, Refusal] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve these repositories; gives the address, and the list of paths that are asked for."""
    server = _Server(repos, refused or {})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hub_environment(address: str, home: Path, **more: str) -> dict[str, str]:
    """Environment variables by which the client knows this hub only, and has its cache in `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    alone = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "2"}
    return {**kept, **alone, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def fill_cache(home: Path, repo: str, files: Mapping[str, bytes]) -> Path:
    """Lay a repository out in the cache as the client does; returns the folder of its snapshot."""
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "refs").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha1(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    return snapshot
