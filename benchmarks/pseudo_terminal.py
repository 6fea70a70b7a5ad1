"""Runs a program on a pseudo-terminal for the scripts beside this file: type, wait for what it shows, look at it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType

# What prompt_toolkit sends before it draws a prompt and after the message was sent: bracketed paste on and off.
PROMPT_BEGINS, PROMPT_ENDS = b"\x1b[?2004h", b"\x1b[?2004l"


class Program:
    """A process whose three streams are one terminal.

    Attributes:
        output: everything it has written.
        pid: of the process.
    """

    def __init__(self, argv: Sequence[str], *, rows: int = 40, columns: int = 100) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        # Nobody answers here when the prompt asks the terminal where its cursor is.
        env |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.pid = self._process.pid
        self.output = b""
        self._seen = 0

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        while keys:
            keys = keys[os.write(self._ours, keys[:512]) :]
            self._read(0.0)

    def wait_for(self, text: bytes, seconds: float = 60.0) -> bytes:
        """What was shown since the last wait, up to and with `text`.

        Raises:
            TimeoutError: it did not come, or the program ended.
        """
        end = time.monotonic() + seconds
        while (at := self.output.find(text, self._seen)) < 0:
            if time.monotonic() > end or not self._read(1.0):
                raise TimeoutError(f"{text!r} did not come after:\n{self.output[-2000:].decode(errors='replace')}")
        shown = self.output[self._seen : at + len(text)]
        self._seen = at + len(text)
        return shown

    def wait_for_more(self, seconds: float = 60.0) -> None:
        """Wait until anything comes after what was last waited for."""
        end = time.monotonic() + seconds
        while len(self.output) == self._seen:
            if time.monotonic() > end or not self._read(1.0):
                raise TimeoutError(f"nothing came after:\n{self.output[-2000:].decode(errors='replace')}")

    def exit_status(self, seconds: float = 60.0) -> int:
        """Wait until it ends."""
        while self._read(1.0):
            pass
        return self._process.wait(seconds)

    def resident_kib(self) -> int:
        """Memory that the process holds."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True, check=True)
        return int(shown.stdout)

    def _read(self, seconds: float) -> bool:
        """Take what has come within that time; False when the program has closed the terminal."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # the other side is closed
            data = b""
        self.output += data
        return bool(data)
