"""The run's diary: lines with a time, over all processes of a run, and why it ended."""

import re
from pathlib import Path

import pytest

from nima_cli.errors import ResourceError
from nima_cli.loggers.log import LogFile
from tests import recorded_run as run


def lines(folder: Path) -> list[str]:
    """The log without its times, which have one form."""
    found = (folder / "train.log").read_text("utf-8").splitlines()
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
    assert all(stamp.match(line) or line.startswith("    ") for line in found)
    return [stamp.sub("", line) for line in found]


def test_what_one_asks_for_later_is_there(tmp_path: Path) -> None:
    logger = LogFile(tmp_path / "logs")
    for event in run.whole_run(tmp_path, steps=40):
        logger(event)
    logger.close()
    first, *middle, last = lines(tmp_path / "logs")
    assert re.fullmatch(
        r"started  pid \d+, nima 0\.1\.0, step 1 of 40, 4570624 parameters, cpu bfloat16, compiled kernels, seed 42, "
        r"data data/docs",
        first,
    )
    assert [line.split()[0] for line in middle] == ["eval", "saved"] * 2
    assert middle[0].startswith("eval     step 20: val loss 5.1805")
    assert middle[0].endswith("best so far")
    assert last == "ended    completed at step 40"


def test_a_later_process_adds_to_it(tmp_path: Path) -> None:
    for first_step in (1, 21):
        logger = LogFile(tmp_path)
        logger(run.started(tmp_path, first_step=first_step))
        logger.close()
    assert [re.sub(r".*step (\d+) of.*", r"\1", line) for line in lines(tmp_path)] == ["1", "21"]


def fail(logger: LogFile, error: Exception) -> None:
    """What a program does whose view is closed on the way out."""
    logger(run.started())
    try:
        raise error
    finally:
        logger.close()


def test_an_expected_failure_is_a_line_and_a_bug_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ResourceError):
        fail(LogFile(tmp_path), ResourceError("disk: full", hint="free some"))
    assert lines(tmp_path)[-1] == "error    disk: full (hint: free some)"
    with pytest.raises(ZeroDivisionError):
        fail(LogFile(tmp_path), ZeroDivisionError("1/0\nor so"))
    text = "\n".join(lines(tmp_path))
    assert "Traceback (most recent call last)" in text
    assert text.endswith("ZeroDivisionError: 1/0\n    or so")
