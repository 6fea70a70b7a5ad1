"""Metrics to Weights & Biases through its client, in a thread behind a queue, so that training never waits."""

import json
import os
import queue
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nima_cli.config.schema import WandbConfig
from nima_cli.errors import ResourceError
from nima_cli.events import EvalDone, Event, RunEnded, RunStarted, SampleDrawn, StepDone
from nima_cli.files import make_folder, write_text
from nima_cli.loggers import dashboard_scalars

# Facts about the machine, the code and the terminal stay here; settings that the client's version lacks are left out.
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


class WandbLogger:
    """Sends scalars, samples and the resolved config; the run keeps its id over resumes."""

    def __init__(self, settings: WandbConfig, *, tell: Callable[[str], None], patience: float = 30.0) -> None:
        """`tell` gets a sentence if the run stays offline; `close` waits `patience` seconds for the client."""
        self._settings = settings
        self._tell = tell
        self._patience = patience
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._worker = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._run: Any = None

    def __call__(self, event: Event, /) -> None:
        """Queue one event; raises the client's earlier failure."""
        self._raise_error()
        if self._worker.ident is None:
            self._worker.start()
        self._events.put(event)

    def close(self) -> None:
        """Wait for queued events; raises ResourceError if the client is not done in time."""
        if self._worker.ident is None:
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
        match event:
            case RunStarted():
                self._run = self._start(event)
            case _ if self._run is None:
                pass
            case StepDone() | EvalDone():
                self._run.log(dashboard_scalars(event), step=event.step)
            case SampleDrawn():
                self._run.log({f"samples/{event.prompt}": event.prompt + event.text}, step=event.step)
            case RunEnded():
                self._run.summary.update({name: getattr(event, name) for name in ("reason", "best_loss", "best_step")})

    def _start(self, event: RunStarted) -> Any:
        # The client's crash reports would carry facts about the machine; it reads this when it is imported.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError as error:
            raise ResourceError("the package `wandb` is missing", hint="`pip install 'nima[wandb]'`") from error

        make_folder(event.run_dir)
        wanted = {**_PRIVATE_SETTINGS, "init_timeout": self._patience, "finish_timeout": self._patience}
        known = wandb.Settings.model_fields
        settings = wandb.Settings(**{key: value for key, value in wanted.items() if key in known})
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._settings.name or event.run_dir.name,
            tags=self._settings.tags,
            dir=str(event.run_dir),
            id=_run_id(event.run_dir),
            resume="allow",
            mode=self._mode(wandb, settings, event.run_dir),
            config=json.loads(event.config_json),
            settings=settings,
        )

    def _mode(self, wandb: Any, settings: Any, run_dir: Path) -> Any:
        """The client's choice (WANDB_MODE or its settings file), but offline if it cannot log in."""
        mode = wandb.setup(settings=settings).settings.mode
        if mode not in ("online", "shared"):
            return mode
        problem = "no API key"
        try:
            if wandb.login(prompt=False, verify=True):
                return mode
        except wandb.errors.AuthenticationError as error:  # the key is refused or the server out of reach
            problem = str(error).split("\n", 1)[0]
        self._tell(f"wandb: {problem}; metrics are kept in {run_dir / 'wandb'}, `wandb sync` sends them later")
        return "offline"


def _run_id(run_dir: Path) -> Any:
    """The id of this run directory at Weights & Biases, made at the first start."""
    path = run_dir / "wandb" / "run_id.txt"
    if path.is_file():
        return path.read_text("utf-8").strip()
    make_folder(path.parent)
    run_id = secrets.token_hex(4)
    write_text(path, f"{run_id}\n")
    return run_id
