"""Running a Python program on a pseudo-terminal, for tests of what a user at a terminal sees."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence

Keys = Sequence[tuple[str, bytes]]

# Makes stdin the controlling terminal, so that a typed Ctrl-C becomes a signal; it would be ignored where the tests
# themselves were started in the background.
_TAKE_TERMINAL = """import fcntl, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def run_on_terminal(
    code: str, *, keys: Keys = (), env: dict[str, str] | None = None, timeout: float = 30.0
) -> tuple[int, str]:
    """Run `code` with stdin, stdout and stderr on a new terminal.

    Args:
        keys: (text to wait for, bytes to type then), in order; each wait starts after the previous match.
        env: replaces and adds variables; NO_COLOR and COLUMNS are unset otherwise.

    Returns:
        Exit status and everything written to the terminal.
    """
    keep = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL + code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**keep, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            output = _talk(ours, keys, time.monotonic() + timeout)
            return process.wait(timeout=10), output
        finally:
            process.kill()
            os.close(ours)


def _talk(terminal: int, keys: Keys, deadline: float) -> str:
    output, seen, waiting = b"", 0, list(keys)
    while True:
        if waiting and waiting[0][0].encode() in output[seen:]:
            awaited, typed = waiting.pop(0)
            seen = output.index(awaited.encode(), seen) + len(awaited.encode())
            os.write(terminal, typed)
        if time.monotonic() > deadline:
            raise TimeoutError(f"still waiting for {waiting[:1]} after:\n{output.decode(errors='replace')}")
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            return output.decode(errors="replace")
        output += data
