"""The tests of nima; imported before any of them, and so before torch."""

import os

# One thread each: the suite runs on all cores at once, and tiny models gain nothing from more.
os.environ["OMP_NUM_THREADS"] = "1"
