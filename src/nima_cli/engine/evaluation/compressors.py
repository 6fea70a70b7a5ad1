"""How small general compressors make a text: xz, and zstd with a dictionary from other text; knows no model.

Both write raw streams where they can, so that a short text does not pay for a container.
"""

import importlib
import lzma
from collections.abc import Callable, Sequence
from typing import Any

_DICTIONARY_BYTES = 112_640  # what the zstd command line trains
_ZSTD_LEVEL = 19


def xz_bytes(data: bytes) -> int:
    """Bytes that `xz -9e` needs, without its container (LZMA2)."""
    window = max(4096, min(len(data), 2**26))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def zstd_with_dictionary(samples: Sequence[bytes]) -> Callable[[bytes], int] | str:
    """A function that tells the bytes `zstd -19` needs with a dictionary trained on `samples`, or why there is none."""
    size = min(_DICTIONARY_BYTES, sum(map(len, samples)) // 10)
    own = _module("compression.zstd")
    if own is not None:
        try:
            dictionary = own.train_dict(samples, size)
        except (own.ZstdError, ValueError, SystemError):
            return "too little training text for a dictionary"
        return lambda data: len(own.compress(data, level=_ZSTD_LEVEL, zstd_dict=dictionary))
    package = _module("zstandard")
    if package is None:
        return "zstandard is not installed: pip install zstandard"
    try:
        dictionary = package.train_dictionary(size, list(samples), level=_ZSTD_LEVEL)
    except (package.ZstdError, ValueError):
        return "too little training text for a dictionary"
    parameters = {"write_checksum": False, "write_dict_id": False, "write_content_size": False}
    compressor = package.ZstdCompressor(level=_ZSTD_LEVEL, dict_data=dictionary, **parameters)
    return lambda data: len(compressor.compress(data))


def _module(name: str) -> Any:
    """The module, or None where this Python does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
