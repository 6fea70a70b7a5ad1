"""Models that others trained: known ones, fetching and reading them."""
