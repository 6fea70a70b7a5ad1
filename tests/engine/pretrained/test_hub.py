"""Models of the hub: found in the client's cache without a word to the hub, fetched from a hub on this machine."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nima_cli.engine.pretrained.hub import check_repo, fetch_snapshot, find_snapshot
from nima_cli.errors import CheckpointError, InputError, NimaError, ResourceError
from nima_cli.events import Progress
from tests.engine.pretrained.hub_server import FILES, Refusal, fill_cache, hub, hub_environment

REPO = "tiny-org/Tiny-1.0"
SHARDS = {
    "config.json": b"{}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
    "model-1.safetensors": b"one",
    "model-2.safetensors": b"two",
}


def fetched(repo: str, environ: Mapping[str, str], home: Path) -> tuple[Path, list[Progress]]:
    steps = fetch_snapshot(repo, environ=environ, size=7000, cache=home / "hub")
    told: list[Progress] = []
    while True:
        try:
            event = next(steps)
        except StopIteration as ended:
            return ended.value, told
        assert isinstance(event, Progress)
        told.append(event)


def refusal(answer: Refusal | None, home: Path, **environ: str) -> NimaError:
    """The error of a download to which the hub answers like this."""
    refused = {REPO: answer} if answer is not None else {}
    with hub({REPO: FILES}, refused) as (address, _), pytest.raises(NimaError) as caught:
        fetched(REPO, hub_environment(address, home, **environ), home)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"hf:{REPO}: ")
    return caught.value


@pytest.mark.parametrize("files", [FILES, SHARDS])
def test_a_whole_snapshot_in_the_cache_is_found(files: Mapping[str, bytes], tmp_path: Path) -> None:
    snapshot = fill_cache(tmp_path, REPO, files)
    assert find_snapshot(REPO, cache=tmp_path / "hub") == snapshot
    assert find_snapshot("other/model", cache=tmp_path / "hub") is None


@pytest.mark.parametrize("missing", ["config.json", "model-2.safetensors"])
def test_a_snapshot_that_broke_off_is_not_taken_for_whole(missing: str, tmp_path: Path) -> None:
    fill_cache(tmp_path, REPO, {name: content for name, content in SHARDS.items() if name != missing})
    assert find_snapshot(REPO, cache=tmp_path / "hub") is None


def test_what_a_model_is_read_from_is_fetched_into_the_clients_cache(tmp_path: Path) -> None:
    with hub({REPO: FILES}) as (address, asked):
        folder, told = fetched(REPO, hub_environment(address, tmp_path), tmp_path)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            name: content for name, content in FILES.items() if name not in ("pytorch_model.bin", "onnx/config.json")
        }
        assert told
        assert told[-1].total == 7000
        asked.clear()
        assert find_snapshot(REPO, cache=tmp_path / "hub") == folder
        assert asked == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (b'{"model_type": "gpt2"}', "`model_type` is"),
        (b"{", "not JSON"),
        (None, "has no `config.json`"),
    ],
    ids=["layout", "broken", "none"],
)
def test_what_nima_cannot_read_is_refused_before_its_weights_come(
    config: bytes | None, told: str, tmp_path: Path
) -> None:
    files = {**FILES, "config.json": config} if config is not None else {"adapter_config.json": b"{}"}
    with hub({REPO: files}) as (address, asked), pytest.raises(CheckpointError) as caught:
        fetched(REPO, hub_environment(address, tmp_path), tmp_path)
    assert told in caught.value.message
    assert caught.value.message.startswith(f"hf:{REPO}: ")
    assert not [path for path in asked if path.endswith(".safetensors")]


def test_a_gated_model_asks_for_its_licence_and_a_token(tmp_path: Path) -> None:
    error = refusal(Refusal(401, "GatedRepo", at="/resolve/"), tmp_path)
    assert (error.exit_code, "is gated" in error.message) == (4, True)
    assert "accept its licence" in str(error.hint)
    assert "HF_TOKEN" in str(error.hint)


def test_a_model_that_is_absent_or_private_is_bad_input(tmp_path: Path) -> None:
    error = refusal(Refusal(401, "RepoNotFound"), tmp_path)
    assert (error.exit_code, "no such model, or it is private" in error.message) == (2, True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Refusal(503), "the hub answered with status 503"),
        (Refusal(429), "the hub answered with status 429"),
        (Refusal(401, message="Invalid credentials in Authorization header"), "does not accept the token"),
    ],
    ids=["down", "too often", "token"],
)
def test_a_hub_that_refuses_is_quoted(answer: Refusal, told: str, tmp_path: Path) -> None:
    error = refusal(answer, tmp_path)
    assert (error.exit_code, told in error.message) == (4, True), error.message


def test_without_a_network_or_offline_the_reason_is_told(tmp_path: Path) -> None:
    closed = refusal(None, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert (closed.exit_code, "the hub cannot be reached" in closed.message) == (4, True), closed.message
    offline = refusal(None, tmp_path, HF_HUB_OFFLINE="1")
    assert (offline.exit_code, "stay offline" in offline.message) == (4, True)
    assert "HF_HUB_OFFLINE" in str(offline.hint)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file, where the cache should be")
    error = refusal(None, tmp_path)
    assert error.exit_code == 4


def test_a_download_that_is_given_up_ends_the_client(tmp_path: Path) -> None:
    with hub({REPO: FILES}) as (address, _):
        steps = fetch_snapshot(REPO, environ=hub_environment(address, tmp_path), cache=tmp_path / "hub")
        next(steps)
        steps.close()
    assert find_snapshot(REPO, cache=tmp_path / "hub") is None


def test_without_the_client_nothing_is_here_and_its_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert find_snapshot(REPO, cache=tmp_path) is None
    with pytest.raises(ResourceError, match="`huggingface_hub` is needed for models of the hub") as caught:
        fetched(REPO, {}, tmp_path)
    assert caught.value.hint == "pip install 'nima[pretrained]'"


@pytest.mark.parametrize("name", ["", "tiny", "a/b/c", "../up", "a/..", "-x/y", "a/b c", "a--b/c", "ä/b"])
def test_names_that_no_repository_can_have_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no name of a model on the hub"):
        check_repo(name)
