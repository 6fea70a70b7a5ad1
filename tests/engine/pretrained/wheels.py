"""A package like the one that holds a known model, but small, in a folder that pip takes for an index."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

from nima_cli.engine.pretrained.registry import IndexSource

CONTENT = b"GGUF" + bytes(range(256)) * 64
LICENCE = b"You may.\n"
PACKAGE, VERSION, MEMBER = "llm-tiny", "0.1.2", "llm_tiny/tiny.gguf"


def make_wheel(folder: Path, *, content: bytes = CONTENT, package: str = PACKAGE) -> IndexSource:
    """Write the wheel of a package into `folder`; returns what would be known of it."""
    module = package.replace("-", "_")
    info, wheel = f"{module}-{VERSION}.dist-info", folder / f"{module}-{VERSION}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, content)
        archive.writestr(f"{info}/LICENSE", LICENCE)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return IndexSource(
        package=package,
        version=VERSION,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member=MEMBER,
        member_sha256=hashlib.sha256(content).hexdigest(),
        member_bytes=len(content),
    )


def with_other_hash(source: IndexSource) -> IndexSource:
    """What is known of a wheel that another one has taken the place of."""
    return replace(source, wheel_sha256="0" * 64)


def index_environment(folder: Path, **more: str) -> dict[str, str]:
    """Environment variables by which pip knows no index but the wheels in `folder`."""
    import os

    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    alone = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}
    return {**kept, **alone, "PIP_NO_CACHE_DIR": "1", **more}
