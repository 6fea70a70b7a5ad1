"""The words we ship: every command line in them parses, every link leads somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from nima_cli.cli.app import app, expand_variadic_options

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("benchmarks/*.md")])
GENERATED = {DOCS / "cli.md", DOCS / "config.md"}
SHELL_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(?<!`)`(nima [^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def shell_lines(text: str) -> Iterator[str]:
    """Lines of `sh` blocks, continued ones joined, that call nima."""
    for block in SHELL_BLOCK.findall(text):
        for line in block.replace("\\\n", " ").split("\n"):
            if line.strip().startswith("nima "):
                yield line.strip()


def recipe_lines(text: str) -> Iterator[str]:
    """Lines of a Makefile that call nima, its variables replaced by a number."""
    for line in text.split("\n"):
        if line.startswith("\t$(BIN)/nima "):
            yield re.sub(r"\$\(\w+\)", "1", line.removeprefix("\t$(BIN)/"))


def complete_lines() -> Iterator[tuple[str, str]]:
    """(place, command) of all that is meant to be typed or is run as it stands."""
    for path in PAGES:
        yield from ((name(path), line) for line in shell_lines(path.read_text("utf-8")))
    yield from (("Makefile", line) for line in recipe_lines((ROOT / "Makefile").read_text("utf-8")))
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        found = re.findall(r"^# +((?:NIMA_\w+=\S+ )?nima .+)$", path.read_text("utf-8"), re.MULTILINE)
        yield from ((name(path), re.sub(r"^NIMA_\S+ ", "", line)) for line in found)


def spans() -> Iterator[tuple[str, str]]:
    """(place, command) of what running text mentions; what such a command requires may be left out there."""
    for path in PAGES:
        if path not in GENERATED:
            yield from ((name(path), span) for span in CODE_SPAN.findall(path.read_text("utf-8")))


def parse(line: str) -> None:
    """Let the real program's own parser read a command line, without running it.

    Raises:
        TyperException: no such command or option, or a value that does not fit.
    """
    words = shlex.split(line, comments=True)
    if "--install-completion" in words:  # it would act as soon as it is read, and write into the home of who runs this
        words.remove("--install-completion")
        words.append("--help")
    command, context = typer.main.get_command(app), None
    rest = expand_variadic_options(words[1:])
    while True:
        try:
            context = command.make_context(words[0], list(rest), parent=context)
        except typer.Exit:  # `--help` and `--version` act as soon as they are read
            return
        if not isinstance(command, TyperGroup):
            return
        rest = [*context._protected_args, *context.args]
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found


def command_names(command: object, path: tuple[str, ...] = ("nima",)) -> Iterator[str]:
    """The full names of all commands of the program."""
    yield " ".join(path)
    if isinstance(command, TyperGroup):
        for child, inner in command.commands.items():
            yield from command_names(inner, (*path, child))


@pytest.mark.parametrize(("place", "line"), list(complete_lines()))
def test_a_command_line_parses(place: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(("place", "span"), list(spans()))
def test_a_command_in_running_text_exists(place: str, span: str) -> None:
    try:
        parse(span.replace("…", ""))
    except TyperException as error:
        if type(error).__name__ != "MissingParameter":
            raise


@pytest.mark.parametrize(
    "line", ["nima trian", "nima train --eopchs 3", "nima data prepare --workers many", "nima export"]
)
def test_a_wrong_command_line_does_not_parse(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line)


def test_the_pages_are_read() -> None:
    found = list(complete_lines())
    for place, least in (("README.md", 5), ("docs/getting_started.md", 8), ("Makefile", 6), ("configs/smoke.yaml", 1)):
        assert sum(at == place for at, _ in found) >= least, place


def test_the_quick_start_has_its_four_steps_and_the_other_start() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    words = [line.split()[1] for line in shell_lines(readme)]
    assert words == ["data", "train", "eval", "chat", "generate", "models", "data", "train", "chat"]
    assert "make demo" in readme


def test_the_recipes_learn_what_the_user_has_and_mixing_has_a_weight() -> None:
    for page in (ROOT / "README.md", DOCS / "getting_started.md"):
        prepared = [line for line in shell_lines(page.read_text("utf-8")) if line.startswith("nima data prepare")]
        assert "builtin:" not in prepared[0]
        assert all("builtin:python-docs,weight=" in line for line in prepared if "builtin:" in line)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    dead = []
    for target in LINK.findall(path.read_text("utf-8")):
        place, _, anchor = target.partition("#")
        page = (path.parent / place).resolve() if place else path
        if re.match(r"[a-z]+:", target):
            continue
        if not page.exists() or (anchor and anchor not in anchors(page)):
            dead.append(target)
    assert dead == []


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown renderer gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", list(command_names(typer.main.get_command(app))))
def test_a_command_is_documented(command: str) -> None:
    assert f"\n## {command}\n" in (DOCS / "cli.md").read_text("utf-8"), "run `python docs/make_reference.py`"


def test_brackets_in_help_are_kept() -> None:
    assert "pip install 'nima[ray]'" in (DOCS / "cli.md").read_text("utf-8")


def test_decisions_are_numbered_and_have_their_three_parts() -> None:
    records = sorted((DOCS / "decisions").iterdir())
    assert len(records) >= 8
    for number, path in enumerate(records, start=1):
        text = path.read_text("utf-8")
        assert re.fullmatch(rf"{number:04}-[a-z0-9-]+\.md", path.name), path.name
        assert text.startswith(f"# {number}. ")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name


def test_the_screenshot_is_made_by_the_program_and_loads_nothing() -> None:
    image = DOCS / "images" / "training.svg"
    assert "docs/images/training.svg" in (ROOT / "README.md").read_text("utf-8")
    text = image.read_text("utf-8")
    assert text.startswith("<svg")
    for words in ("nima&#160;train", "val&#160;loss", "bits/byte", "ETA"):
        assert words in text
    assert not re.search(r"url\([\"']?http|href=|<script|<image", text)


def test_pages_do_not_name_a_folder_of_one_machine() -> None:
    foreign = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp)/")
    assert [name(path) for path in PAGES if foreign.search(path.read_text("utf-8"))] == []
