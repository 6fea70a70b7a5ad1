"""Which Ray cluster `nima data prepare` works on, and the environment that Ray reads; knows nothing of the work."""

import os
import secrets

from nima_cli.errors import InputError

# Nothing is reported to the makers of Ray, and no GPU is hidden.
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def cluster(engine: str, address: str | None, workers: int | None) -> str | None:
    """The Ray cluster to prepare on, as the engine takes it; None without one.

    Raises:
        InputError: flags that contradict each other.
    """
    if engine not in ("local", "ray"):
        raise InputError(f"--engine {engine}: unknown", hint="it is `local` or `ray`")
    if address is not None and engine != "ray":
        raise InputError("--ray-address: only `--engine ray` uses it")
    if address is not None and workers is not None:
        raise InputError("--workers: a running Ray cluster has its own", hint="leave out `--workers`")
    if engine == "local":
        return None
    set_environment(alone=address is None)
    return address or "local"


def set_environment(*, alone: bool) -> None:
    """Set what Ray reads when it is imported and started in this process.

    Args:
        alone: for a cluster of this machine and this process. It listens on the loopback address, as Ray has it where
            only one machine can take part, and to who knows its token; Ray would keep one in the home folder.
    """
    os.environ.update(_ALWAYS)
    if alone:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
