"""C++ programs, compiled once for each machine, and the converters that put them into a model."""
