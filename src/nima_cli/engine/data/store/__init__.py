"""A prepared dataset on disk: written, read, verified, shown."""
