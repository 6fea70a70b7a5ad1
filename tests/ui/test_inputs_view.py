"""The account of inputs fits a narrow terminal, names the largest, and adds up the long tail."""

from pathlib import Path

import pytest
from rich.console import Console

from nima_cli.events import DatasetReady, InputsCounted, Progress
from nima_cli.ui.inputs_view import how_to_have_more, inputs_lines, inputs_table
from nima_cli.ui.progress_view import prepare_view

READ = InputsCounted("read", "", ".md", 1204, 9_800_000, "docs/long.md")
DATASET = InputsCounted("left_out", "dataset", "", 1, 0, "data/mine")
RUNS = InputsCounted("left_out", "run", "", 3, 0, "experiments/one")
MODULES = InputsCounted("left_out", "dependencies", "", 2, 0, "docs/node_modules")
SHORT = InputsCounted("dropped", "too_short", "", 18, 0, "docs/a.md:1")


def kinds(number: int) -> list[InputsCounted]:
    return [
        InputsCounted("left_out", "kind", f".k{n}", 10 + n, (100 - n) * 1000, f"{'a folder/' * 12}f.k{n}")
        for n in range(number)
    ]


def table(inputs: list[InputsCounted], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(inputs_table(inputs))
    return capture.get()


@pytest.mark.parametrize("width", [80, 100])
def test_forty_suffixes_fit_and_the_tail_is_added_up(width: int) -> None:
    rows = kinds(40)
    text = table([READ, *rows, DATASET, SHORT], width)
    assert max(map(len, text.splitlines())) <= width
    plain = " ".join(text.split())
    assert ".k7 17 93.0 kB" in plain
    assert ".k8 " not in plain
    count, size = sum(row.count for row in rows[8:]), sum(row.bytes for row in rows[8:])
    assert f"of 32 more kinds {count:,} {size / 1e6:.1f} MB" in plain
    assert "1,204 9.8 MB docs/long.md" in plain
    assert "prepared dataset 1 data/mine" in plain
    assert "too short 18 docs/a.md:1" in plain


def test_one_kind_more_than_shown_is_shown_too() -> None:
    assert ".k8 " in table(kinds(9), 80)
    assert "more kinds" not in table(kinds(9), 80)


def test_lines_say_the_same_one_for_each_way() -> None:
    nameless = InputsCounted("left_out", "kind", "", 2, 5000, "docs/LICENSE")
    assert list(inputs_lines([READ, nameless, DATASET, RUNS, SHORT])) == [
        "read: 1,204 .md (9.8 MB)",
        "not of a kind that is read: 2 without suffix (5.0 kB, the largest docs/LICENSE)",
        "left out: 1 prepared dataset (data/mine), 3 run directories (experiments/one and 2 more)",
        "dropped after reading: 18 too short (docs/a.md:1 and 17 more)",
    ]
    assert "of 32 more kinds" in next(inputs_lines(kinds(40)))
    assert list(inputs_lines([])) == []


def test_how_to_have_what_was_left_out_is_said_where_something_was() -> None:
    assert how_to_have_more([READ, DATASET, *kinds(3), SHORT]) is None
    assert "`data.default_excludes: false`" in str(how_to_have_more([MODULES]))
    ignored = InputsCounted("left_out", "gitignore", "", 1, 0, "site")
    assert "`data.respect_gitignore: false`" in str(how_to_have_more([ignored]))
    assert "default_excludes" not in str(how_to_have_more([ignored]))


def test_names_of_files_steer_no_terminal() -> None:
    evil = InputsCounted("left_out", "kind", ".x", 1, 1, "docs/\x1b[31m\u202ered.x")
    assert not {"\x1b", "\u202e"} & set(table([evil], 80) + "".join(inputs_lines([evil])))


@pytest.mark.parametrize("quiet", [False, True])
def test_the_account_comes_last_and_not_when_quiet(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    view = prepare_view(quiet=quiet)
    for event in (READ, SHORT, Progress("leaks", 1, 1, "splits"), DatasetReady(Path("x"), 1, 1, 1, 1)):
        view(event)
    view.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == (
        [] if quiet else ["looking for leaks", "read", "dropped after reading"]
    )


def test_records_that_a_folder_of_documents_holds_are_pointed_out() -> None:
    table = InputsCounted("left_out", "kind", ".csv", 2, 5000, "docs/qa.csv")
    assert how_to_have_more([READ, table]) == "read records of a folder with `--source FOLDER`"
    assert how_to_have_more([READ, InputsCounted("left_out", "kind", ".bin", 2, 5000, "docs/x.bin")]) is None
