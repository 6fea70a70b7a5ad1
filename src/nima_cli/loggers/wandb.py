"""Metrics to Weights & Biases through its own client; knows nothing of keys, which the client finds by itself.

The client works in a thread of its own behind a queue, so that however slow the network is, training never waits.
"""

import json
import netrc
import os
import queue
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from nima_cli.config.schema import WandbConfig
from nima_cli.errors import ResourceError
from nima_cli.events import EvalDone, Event, RunEnded, RunStarted, SampleDrawn, StepDone
from nima_cli.files import make_folder, write_text
from nima_cli.loggers.scalars import eval_scalars, step_scalars

_SECONDS_TO_CONNECT = 3.0

# Nothing of the machine, the code or the terminal leaves; names that an older client lacks are left out.
_PRIVATE_SETTINGS = {
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "console": "off",
    "silent": True,
    "host": "",
    "program": "nima",
}


class WandbSink:
    """Sends scalars, samples and the resolved config; the run keeps its id over resumes."""

    def __init__(self, settings: WandbConfig, *, tell: Callable[[str], None], patience: float = 30.0) -> None:
        """Nothing happens before the first event.

        Args:
            settings: the `monitoring.wandb` of the config.
            tell: gets one sentence when the run is kept offline.
            patience: seconds that the end of a run may wait for the client.
        """
        self._settings = settings
        self._tell = tell
        self._patience = patience
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._worker: threading.Thread | None = None
        self._run: Any = None

    def __call__(self, event: Event, /) -> None:
        """Hand one event over; raises what the client failed with, at the next event after it."""
        self._raise_error()
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="wandb-sink", daemon=True)
            self._worker.start()
        self._events.put(event)

    def close(self) -> None:
        """Wait for what is queued, within the sink's patience.

        Raises:
            ResourceError: the client was not done by then.
        """
        if self._worker is None:
            return
        self._events.put(None)
        self._worker.join(self._patience)
        if self._worker.is_alive():
            raise ResourceError(f"the client was not done after {self._patience:g} s")
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (event := self._events.get()) is not None:
                self._send(event)
            if self._run is not None:
                self._run.finish()
        except Exception as error:
            self._error = error

    def _send(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._run = self._start(event)
        elif self._run is None:
            return
        elif isinstance(event, StepDone):
            self._run.log(step_scalars(event), step=event.step)
        elif isinstance(event, EvalDone):
            self._run.log(eval_scalars(event), step=event.step)
        elif isinstance(event, SampleDrawn):
            self._run.log({f"samples/{event.prompt}": event.prompt + event.text}, step=event.step)
        elif isinstance(event, RunEnded):
            self._run.summary.update(
                {"reason": event.reason, "best_loss": event.best_loss, "best_step": event.best_step}
            )

    def _start(self, event: RunStarted) -> Any:
        # Read by the client when it is imported: its crash reports would carry facts about the machine.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError as error:
            raise ResourceError("the package `wandb` is missing", hint="`pip install 'nima[wandb]'`") from error

        make_folder(event.run_dir)
        wanted = {**_PRIVATE_SETTINGS, "init_timeout": self._patience, "finish_timeout": self._patience}
        known = wandb.Settings.model_fields
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._settings.name or event.run_dir.name,
            tags=self._settings.tags,
            dir=str(event.run_dir),
            id=_run_id(event.run_dir),
            resume="allow",
            mode=self._mode(wandb.setup().settings, event.run_dir),
            config=json.loads(event.config_json),
            settings=wandb.Settings(**{key: value for key, value in wanted.items() if key in known}),
        )

    def _mode(self, client: Any, run_dir: Path) -> Any:
        """The client's own choice (WANDB_MODE or its settings file), but offline where online would ask or hang."""
        if client.mode not in ("online", "shared"):
            return client.mode
        problem = ""
        if not has_credentials(client.base_url, os.environ):
            problem = "no API key"
        elif not _is_reachable(client.base_url):
            problem = f"{urlsplit(client.base_url).hostname} cannot be reached"
        if not problem:
            return client.mode
        self._tell(f"wandb: {problem}; metrics are kept in {run_dir / 'wandb'}, `wandb sync` sends them later")
        return "offline"


def has_credentials(base_url: str, environ: Mapping[str, str]) -> bool:
    """Whether the client would find a key for `base_url` without asking: in the environment or in a netrc file."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(base_url).hostname or ""
    candidates = [Path(environ["NETRC"])] if environ.get("NETRC") else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for path in candidates:
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _is_reachable(base_url: str) -> bool:
    """Whether something listens at the server, or at the proxy in front of it."""
    scheme = urlsplit(base_url).scheme
    target = urlsplit(getproxies().get(scheme, base_url))
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
        socket.create_connection((target.hostname or "", port), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, ValueError):
        return False
    return True


def _run_id(run_dir: Path) -> str:
    """The id under which this run directory is known to Weights & Biases, made at the first start."""
    path = run_dir / "wandb" / "run_id.txt"
    if path.is_file():
        return path.read_text("utf-8").strip()
    make_folder(path.parent)
    run_id = secrets.token_hex(4)
    write_text(path, f"{run_id}\n")
    return run_id
