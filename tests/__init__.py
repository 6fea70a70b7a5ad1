"""The tests of nima; imported before any of them, and so before torch."""

import os
import signal

# One thread each: the suite runs on all cores at once, and tiny models gain nothing from more.
os.environ["OMP_NUM_THREADS"] = "1"

# What `nohup` or a shell's background job ignores, every program that a test starts would ignore too.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
