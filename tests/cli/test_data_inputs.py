"""What a folder holds and is not learnt is on the screen, in the report and in the metadata, and flags change it."""

import json
from pathlib import Path

import pytest

from tests.cli.programs import Nima, refused


def metadata(out: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((out / "dataset_metadata.json").read_text("utf-8"))
    return loaded


def files_read(out: Path) -> int:
    rows = metadata(out)["inputs"]
    assert isinstance(rows, list)
    return sum(row["count"] for row in rows if row["outcome"] == "read")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with ten documents, a folder of packages, ignored output and files of other kinds."""
    root = tmp_path / "project"
    files = {f"docs/{n}.md": f"# Page {n}\n\nThe words of page {n}, and enough of them." for n in range(10)}
    files |= {
        "node_modules/p/README.md": "The manual of a package that somebody else wrote.",
        "site/index.md": "What a site generator has made of the pages.",
        ".gitignore": "site/\n",
        "docs/guide.wiki": "= Guide\n" * 300,
        ".github/CONTRIBUTING.md": "How to contribute to this project, in some words.",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


PREPARE = ("data", "prepare", "--output-dir", "data/mine", "--text-files", ".", "--tokenizer", "char")


def test_three_preparations_in_a_row_learn_the_same(nima: Nima, project: Path) -> None:
    printed = [nima(*PREPARE, "--overwrite", cwd=project) for _ in range(3)]
    assert [ran.code for ran in printed] == [0, 0, 0]
    assert len({ran.stdout for ran in printed}) == 1
    assert "10 documents" in printed[0].stdout


def test_the_end_of_a_preparation_says_what_was_left_out(nima: Nima, project: Path) -> None:
    ran = nima(*PREPARE, "--report", "report.jsonl", cwd=project)
    assert ran.code == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert next(line for line in lines if line.startswith("read: ")) == "read: 10 .md (500 bytes)"
    assert "not of a kind that is read: 1 .wiki (2.4 kB, the largest docs/guide.wiki)" in lines
    [left_out] = [line for line in lines if line.startswith("left out: ")]
    assert "1 path that git ignores (site)" in left_out
    assert "1 folder of installed packages (node_modules)" in left_out
    assert "2 hidden entries (.gitignore and 1 more)" in left_out
    assert any(line.startswith("warning: ") and "of the bytes are not read: 1 .wiki" in line for line in lines)
    assert any(line.startswith("hint: read what is left out by default") for line in lines)
    rows = [json.loads(line) for line in (project / "report.jsonl").read_text("utf-8").splitlines()]
    assert {(row["where"], row["reason"]) for row in rows} == {
        ("site", "gitignore"), ("node_modules", "dependencies"), (".gitignore", "hidden"), (".github", "hidden"),
        ("docs/guide.wiki", "kind"),
    }  # fmt: skip
    before = metadata(project / "data/mine")
    again = nima(*PREPARE, "--report", "report.jsonl", "--overwrite", cwd=project)
    assert "1 report of a preparation (report.jsonl)" in again.stderr
    assert metadata(project / "data/mine") == before
    shown = nima("data", "inspect", "data/mine", "--samples", "0", cwd=project).stdout
    assert "not of a kind that is read" in shown
    assert "docs/guide.wiki" in shown


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        (("--exclude", "docs/1.md", "2.md"), 8),
        (("--exclude", "docs/", "--exclude", "!docs/[0-4].md"), None),
        (("--default-excludes", "false"), 12),
        (("--respect-gitignore", "false"), 11),
        (("--exclude", "!node_modules/"), 11),
    ],
)
def test_flags_say_what_is_left_out(nima: Nima, project: Path, flags: tuple[str, ...], files: int | None) -> None:
    ran = nima(*PREPARE, *flags, cwd=project)
    if files is None:  # as in git, nothing comes back out of a folder that is left out
        assert "no documents in this folder" in refused(ran, 2)
        return
    assert ran.code == 0, ran.stderr
    assert files_read(project / "data/mine") == files


def test_the_same_keys_work_in_a_file(nima: Nima, project: Path) -> None:
    (project / "nima.yaml").write_text(
        "data:\n  dir: data/mine\n  tokenizer: char\n  exclude: ['*.wiki', '/docs/0.md']\n  respect_gitignore: false\n"
        "  sources:\n    - {path: ., container: text, exclude: ['1.md']}\n",
        "utf-8",
    )
    ran = nima("data", "prepare", "-c", "nima.yaml", cwd=project)
    assert ran.code == 0, ran.stderr
    assert files_read(project / "data/mine") == 9
    assert "not read" not in ran.stderr


def test_a_bad_pattern_is_refused(nima: Nima, project: Path) -> None:
    assert "`!` is no pattern" in refused(nima(*PREPARE, "--exclude", "!", cwd=project), 2)


def test_no_dataset_is_written_among_documents_and_no_hint_says_so(nima: Nima, project: Path) -> None:
    for more in ((), ("--overwrite",)):
        ran = nima("data", "prepare", "--output-dir", "docs", "--text-files", "docs", *more, cwd=project)
        assert "is already there and belongs to no prepared dataset" in refused(ran, 2)
    assert sorted(path.name for path in (project / "docs").iterdir()) == [*(f"{n}.md" for n in range(10)), "guide.wiki"]
    ran = nima("train", "--data", "docs", cwd=project)
    assert "not a prepared dataset" in refused(ran, 2)
    assert "`nima data prepare --output-dir data/docs --text-files docs`" in ran.stderr


def test_a_dataset_that_is_named_as_documents_is_refused(nima: Nima, project: Path) -> None:
    assert nima(*PREPARE, cwd=project).code == 0
    ran = nima("data", "prepare", "--output-dir", "data/two", "--text-files", "data/mine", cwd=project)
    assert "data/mine: is a prepared dataset of nima" in refused(ran, 2)
    assert not (project / "data/two").exists()


RUN = """\
model: {n_layers: 1, d_model: 32, d_ff: 32, n_heads: 2, n_kv_heads: 2, context_length: 32}
data: {sources: [{path: .}], tokenizer: char, max_length: 32}
training: {max_steps: 2}
evaluation: {generation: {enabled: false}}
hardware: {device: cpu}
"""


def test_a_run_below_its_own_sources_goes_on_and_another_starts(nima: Nima, project: Path) -> None:
    (project / "run.yaml").write_text(RUN, "utf-8")
    first = nima("train", "-c", "run.yaml", cwd=project)
    assert first.code == 0, first.stderr
    assert "left out: " in first.stderr
    resumed = nima("train", "-c", "run.yaml", "--resume", "auto", "--max-steps", "3", cwd=project)
    assert resumed.code == 0, resumed.stderr
    assert "preparing" not in resumed.stderr
    again = nima("train", "-c", "run.yaml", cwd=project)
    assert again.code == 0, again.stderr
    assert "preparing" not in again.stderr
