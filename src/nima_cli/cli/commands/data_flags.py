"""Interprets the flags of `nima data prepare`: sources, keys of records, the Ray cluster."""

import os
import re
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nima_cli.cli.options import require_choice
from nima_cli.errors import InputError

_MAPPING = re.compile(r"`data\.fields: (\{[^`]*\})`")


def named_sources(
    text_files: Sequence[str],
    json_files: Sequence[str],
    jsonl_files: Sequence[str],
    record_format: str,
    sources: Sequence[str],
) -> list[dict[str, Any]]:
    """The value of `data.sources` that the command line means."""
    formats = ("qa", "chat", "doc", "auto")
    require_choice("--format", record_format, formats, "leave it out: `auto` goes by the keys of the records")
    records = {"json": json_files, "jsonl": jsonl_files}
    if record_format != "auto" and not any(records.values()):
        raise InputError(
            f"--format {record_format}: applies to no file; it is for `--json-files` and `--jsonl-files`",
            hint=f"a source may have a format of its own: `--source PATH,format={record_format}`",
        )
    shared = {}
    plain = [path for path in text_files if Path(path).is_file()]
    if len(plain) > 1:  # what a shell made out of `docs/*.md` is one source, named after the folder
        folder = os.path.commonpath([Path(path).resolve().parent for path in plain])
        shared["name"] = Path(folder).name or "text-files"
    return [
        *({"path": path, "container": "text", **(shared if path in plain else {})} for path in text_files),
        *({"path": path, "container": kind, "format": record_format} for kind in records for path in records[kind]),
        *(_parsed_source(text) for text in sources),
    ]


def _parsed_source(text: str) -> dict[str, Any]:
    """A source of `PATH[,format=qa][,container=json][,weight=2.0][,name=k8s]`; PATH may have commas."""
    path, settings = text, dict[str, str]()
    while found := re.fullmatch(r"(.*),([^,=]*)=([^,]*)", path, re.DOTALL):
        path, key, value = found.groups()
        if key not in ("format", "container", "weight", "name"):
            hint = "the settings are `format`, `container`, `weight` and `name`"
            raise InputError(f"--source {text}: no setting `{key}`", hint=hint)
        if key in settings:
            raise InputError(f"--source {text}: `{key}` is given twice")
        settings[key] = value
    return {"path": path, **settings}


def fields(assignments: Sequence[str]) -> dict[str, str] | None:
    """The value of `data.fields` that `--field` flags mean."""
    found: dict[str, str] = {}
    for assignment in assignments:
        key, _, name = assignment.partition("=")
        if not (key and name):
            hint = "for example `--field question=Question`"
            raise InputError(f"--field {assignment}: expected `KEY=NAME`", hint=hint)
        if key in found:
            raise InputError(f"--field {assignment}: `{key}` is given twice")
        found[key] = name
    return found or None


def in_field_flags(hint: str) -> str:
    """`hint` with each value of `data.fields` written as `--field` flags too."""
    from nima_cli.config.strict_yaml import parse_value

    def flags(match: re.Match[str]) -> str:
        written = (f"--field {shlex.quote(f'{key}={name}')}" for key, name in parse_value(match[1]).items())
        return f"`{' '.join(written)}` (in a config: {match[0]})"

    return _MAPPING.sub(flags, hint)


def ray_cluster(engine: str, address: str | None, workers: int | None) -> str | None:
    """The address of the Ray cluster to prepare on, `local` for a new one, None to do without Ray."""
    require_choice("--engine", engine, ("local", "ray"))
    if address is not None and engine != "ray":
        raise InputError("--ray-address: only `--engine ray` uses it")
    if address is not None and workers is not None:
        raise InputError("--workers: a running Ray cluster has its own", hint="leave out `--workers`")
    if engine == "local":
        return None
    set_ray_environment(alone=address is None)
    return address or "local"


def set_ray_environment(*, alone: bool) -> None:
    """Set the variables that Ray reads; `alone` is for a cluster of this process on this machine."""
    # Nothing is reported to the makers of Ray, and no GPU is hidden.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"})
    if alone:  # listen on the loopback address, with a token that is not kept in the home folder
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ.update({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **token})
