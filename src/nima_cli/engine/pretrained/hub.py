"""Finds and fetches models of the Hugging Face hub with the hub's own client, its cache, settings and token."""

import errno
import json
import re
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nima_cli.engine.packages import needed
from nima_cli.engine.pretrained.download import bytes_in, run_download
from nima_cli.engine.pretrained.hf.config import read_config
from nima_cli.engine.pretrained.strict import parse_json, read_member
from nima_cli.errors import CheckpointError, InputError, NimaError, ResourceError
from nima_cli.events import Event
from nima_cli.files import write_json

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a model is read from. Weights in other formats and in folders, such as `onnx/`, are left where they are.
_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICENSE*")
_UNWANTED = ("*/*", "consolidated*")
_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

Failure = dict[str, Any]


def check_repo(repo: str) -> None:
    """Refuse what cannot be the name of a repository."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError(f"`hf:{repo}`: no name of a model on the hub", hint="write it as `hf:OWNER/NAME`")


def find_snapshot(repo: str, *, cache: Path | None = None) -> Path | None:
    """The newest whole snapshot in the client's cache, without asking the hub.

    Args:
        cache: by default the client's own.
    """
    if find_spec("huggingface_hub") is None:
        return None
    try:
        folder = Path(_client().snapshot_download(repo, local_files_only=True, **_what(_WANTED, cache)))
    except (OSError, ValueError):
        return None
    return folder if _is_whole(folder) else None


def fetch_snapshot(
    repo: str, *, environ: Mapping[str, str], size: int = 0, cache: Path | None = None
) -> Generator[Event, None, Path]:
    """Download what is missing of a repository into the client's cache; returns the folder of the snapshot.

    The configuration comes first: where nima could not read the model, its weights are not fetched. Whatever ends this
    leaves what has come in the cache, where the next download goes on from it.

    Args:
        environ: environment variables for the client, which has settings there.
        size: bytes to come, about; 0 if unknown.
        cache: by default the client's own.

    Raises:
        InputError: the hub has no such model.
        CheckpointError: nima cannot read such models.
        ResourceError: the hub is out of reach or lets nobody in, or there is no room.
    """
    where = f"hf:{repo}: {_CONFIG}"
    folder = yield from _fetch_files(repo, (_CONFIG,), environ, 0, cache)
    if not (folder / _CONFIG).exists():
        raise CheckpointError(f"hf:{repo}: has no `{_CONFIG}`", hint="give a model that transformers would load")
    read_config(parse_json(read_member(folder, _CONFIG), where), where)
    return (yield from _fetch_files(repo, _WANTED, environ, size, cache))


def _fetch_files(
    repo: str, wanted: Sequence[str], environ: Mapping[str, str], size: int, cache: Path | None
) -> Generator[Event, None, Path]:
    """Download the files that match one of the patterns."""
    blobs = _cache(cache) / f"models--{repo.replace('/', '--')}" / "blobs"
    with tempfile.TemporaryDirectory(prefix="nima-hub-") as name:
        result, log = Path(name) / "result.json", Path(name) / "log"
        arguments = (repo, list(wanted), str(result), str(cache) if cache is not None else None)
        code = yield from run_download(
            # The client's threads would hold up the end of this process.
            [sys.executable, "-P", "-c", f"from {__name__} import _download; _download(*{arguments!r})"],
            log,
            environ=environ,
            phase="downloading",
            done=lambda: bytes_in(blobs),
            total=size,
        )
        if not result.is_file():
            said = log.read_text("utf-8", "replace").strip().splitlines() or [f"exit code {code}"]
            raise ResourceError(f"hf:{repo}: the download broke off: {said[-1][:200]}")
        found = json.loads(result.read_text("utf-8"))
    if "folder" not in found:
        raise _problem(repo, found)
    return Path(found["folder"])


def _client() -> Any:
    return needed("huggingface_hub", extra="pretrained", what="models of the hub")


def _cache(chosen: Path | None) -> Path:
    _client()
    return chosen or Path(import_module("huggingface_hub.constants").HF_HUB_CACHE)


def _what(wanted: Sequence[str], cache: Path | str | None) -> dict[str, Any]:
    return {"allow_patterns": list(wanted), "ignore_patterns": list(_UNWANTED), "cache_dir": cache}


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot has a configuration and all of its weights: clients before 2.0 cannot tell."""
    weights = [_WEIGHTS]
    try:
        weights = list(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values())
    except FileNotFoundError:
        pass
    except (OSError, ValueError, LookupError, AttributeError):
        return True  # whoever reads it says what is wrong
    return all((folder / str(name)).exists() for name in (_CONFIG, *weights))


def _download(repo: str, wanted: Sequence[str], result: str, cache: str | None) -> None:
    """Download in a process of its own and write the folder, or what went wrong, to the file `result`."""
    client = _client()
    import_module("huggingface_hub.utils").disable_progress_bars()
    try:
        found: Failure = {"folder": client.snapshot_download(repo, **_what(wanted, cache))}
    except Exception as error:
        found = _described(error)
    write_json(Path(result), found)


def _described(error: BaseException) -> Failure:
    chain = list(_chain(error))
    responses = [getattr(one, "response", None) for one in chain]
    return {
        "kinds": [kind.__name__ for one in chain for kind in type(one).__mro__],
        "status": next((one.status_code for one in responses if one is not None), None),
        "errno": next((one.errno for one in chain if isinstance(one, OSError) and one.errno), None),
        "detail": " ".join(str(chain[-1]).split("\n", 1)[0].split())[:200],
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and the ones that it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _problem(repo: str, failure: Failure) -> NimaError:
    """What to tell of a failed download."""
    name, kinds, status = f"hf:{repo}", failure["kinds"], failure["status"]
    if failure["errno"] in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space, or set HF_HOME to another folder"
        return ResourceError(f"{name}: no space left on the disk of the hub's cache", hint=hint)
    if "GatedRepoError" in kinds:
        return ResourceError(f"{name}: is gated", hint=f"accept its licence on its page of the hub, then {_LOG_IN}")
    if "RepositoryNotFoundError" in kinds:
        return InputError(f"{name}: the hub has no such model, or it is private", hint=f"if it is private, {_LOG_IN}")
    if "OfflineModeIsEnabled" in kinds:
        return ResourceError(
            f"{name}: is not in the cache, and the hub's client is told to stay offline", hint="unset HF_HUB_OFFLINE"
        )
    if status in (401, 403):
        return ResourceError(f"{name}: the hub does not accept the token", hint=_LOG_IN)
    if status is not None:
        return ResourceError(f"{name}: the hub answered with status {status}", hint="try again later")
    if "LocalEntryNotFoundError" in kinds or "ConnectionError" in kinds or "TransportError" in kinds:
        return ResourceError(f"{name}: the hub cannot be reached: {failure['detail']}", hint="is there a network?")
    return ResourceError(f"{name}: the hub's client failed: {failure['detail']}")
