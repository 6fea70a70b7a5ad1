"""What to compile for decoding; torch-free, so that a command can begin before torch is there."""

from pathlib import Path

from nima_cli.engine.kernels.build import Program

DECODER = Program(
    "decode",
    Path(__file__).parent,
    (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-mcpu=native",), ()),
)
