"""Programs in C++ that are compiled once for each machine, and the converters that put them into a model."""
