"""The programs behind `nima train`."""
