"""What is left out by name follows git where git has rules, and has the last word in `data.exclude`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.ingest.sources import open_sources
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"text of {name}", "utf-8")


def names(path: Path | str, *exclude: str, defaults: bool = True, gitignore: bool = True) -> list[str]:
    """What is read of a folder, by name."""
    walking = WalkOptions(exclude, default_excludes=defaults, respect_gitignore=gitignore)
    [source] = open_sources([SourceConfig(path=str(path))], walking=walking)
    return [file.name for file in source.files]


def reasons(path: Path | str, *exclude: str) -> dict[str, str]:
    [source] = open_sources([SourceConfig(path=str(path))], walking=WalkOptions(exclude))
    return {os.path.relpath(one.where, path): one.reason for one in source.skipped}


RULES = """
# a comment
*.tmp.md
!keep.tmp.md
/top.md
build/
docs/**/deep.md
a/b/*
!a/b/kept.md
trailing.md
\\!odd.md
[ab]x.md
"""
TREE = (
    "a.md", "a.tmp.md", "keep.tmp.md", "top.md", "sub/top.md", "build/x.md", "sub/build/y.md", "docs/deep.md",
    "docs/one/two/deep.md", "a/b/c.md", "a/b/kept.md", "trailing.md", "!odd.md", "ax.md", "cx.md", "nested/in.md",
    "nested/out.md", "nested/sub/in.md", "nested/again.tmp.md", "link-target/z.md",
)  # fmt: skip


def rules_of_git(root: Path) -> None:
    (root / ".gitignore").write_text(RULES.replace("trailing.md", "trailing.md  "), "utf-8")
    (root / "nested/.gitignore").write_text("in.md\n!again.tmp.md\n", "utf-8")


def test_nested_rules_and_negations_hold(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    rules_of_git(tmp_path)
    assert names(tmp_path) == [
        "a.md", "a/b/kept.md", "cx.md", "keep.tmp.md", "link-target/z.md", "nested/again.tmp.md", "nested/out.md",
        "sub/top.md",
    ]  # fmt: skip
    assert names(tmp_path, gitignore=False) == sorted(TREE)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
def test_git_itself_says_the_same(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    rules_of_git(tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".git/info").mkdir(exist_ok=True)
    (tmp_path / ".git/info/exclude").write_text("cx.md\n", "utf-8")
    listed = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-standard"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert names(tmp_path) == sorted(name for name in listed.stdout.splitlines() if name.endswith(".md"))


def test_rules_above_the_folder_hold_as_far_as_its_repository_goes(tmp_path: Path) -> None:
    write(tmp_path, "repo/docs/a.md", "repo/docs/b.md", "repo/docs/c.md", "repo/docs/d.md")
    (tmp_path / ".gitignore").write_text("a.md\n", "utf-8")
    (tmp_path / "repo/.gitignore").write_text("docs/b.md\n", "utf-8")
    assert names(tmp_path / "repo/docs") == ["a.md", "b.md", "c.md", "d.md"]
    write(tmp_path, "repo/.git/info/exclude")
    (tmp_path / "repo/.git/info/exclude").write_text("c.md\n", "utf-8")
    assert names(tmp_path / "repo/docs") == ["a.md", "d.md"]
    assert names(f"{tmp_path}/repo/docs/**/*.md") == ["a.md", "d.md"]


def test_a_work_tree_finds_the_rules_of_its_repository(tmp_path: Path) -> None:
    write(tmp_path, "main/.git/info/exclude", "tree/a.md", "tree/b.md")
    (tmp_path / "main/.git/info/exclude").write_text("b.md\n", "utf-8")
    write(tmp_path, "main/.git/worktrees/tree/commondir")
    (tmp_path / "main/.git/worktrees/tree/commondir").write_text("../..\n", "utf-8")
    (tmp_path / "tree/.git").write_text(f"gitdir: {tmp_path}/main/.git/worktrees/tree\n", "utf-8")
    assert names(tmp_path / "tree") == ["a.md"]


def test_a_folder_that_is_named_is_read_although_git_ignores_it(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "out/docs/a.md", "out/docs/b.md")
    (tmp_path / ".gitignore").write_text("out/\n", "utf-8")
    assert names(tmp_path / "out/docs") == ["a.md", "b.md"]


def test_a_file_that_is_named_is_always_read(tmp_path: Path) -> None:
    write(tmp_path, "node_modules/a.md", "ignored.md", "x.min.md", ".hidden.md")
    (tmp_path / ".gitignore").write_text("*.md\n", "utf-8")
    for name in ("node_modules/a.md", "ignored.md", "x.min.md", ".hidden.md"):
        assert names(tmp_path / name, "*.md") == [Path(name).name]


def test_damaged_rules_say_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "b.md")
    (tmp_path / ".gitignore").write_bytes(b"!\n\\\n\xff\xfe\nb.md\n[a\n")
    assert names(tmp_path) == ["a.md"]


DEFAULTS = {
    ".git/x.md": "hidden", ".hidden/x.md": "hidden", ".dot.md": "hidden",
    "node_modules/p/README.md": "dependencies", "lib/site-packages/p/x.txt": "dependencies",
    "env/notes.txt": "dependencies", "conda/x.txt": "dependencies", "go/vendor/p/README.md": "dependencies",
    "__pycache__/x.md": "build", "_build/html/_sources/a.rst": "build", "nima.egg-info/SOURCES.txt": "build",
    "target/x.md": "build",
    "app.min.md": "generated", "package-lock.json": "generated", "search/search_index.json": "generated",
}  # fmt: skip


def make_defaults(root: Path) -> None:
    write(root, *DEFAULTS, "env/pyvenv.cfg", "conda/conda-meta/history", "go/vendor/modules.txt", "docs/a.md")
    (root / "target/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n", "utf-8")


def test_what_holds_no_documents_is_left_out_and_counted(tmp_path: Path) -> None:
    make_defaults(tmp_path)
    assert names(tmp_path) == ["docs/a.md"]
    found = reasons(tmp_path)
    for name, reason in DEFAULTS.items():
        places = [place for place in (name, *map(str, Path(name).parents)) if place in found]
        assert [found[place] for place in places] == [reason], name


def test_one_key_has_all_of_it_read_but_git_itself(tmp_path: Path) -> None:
    make_defaults(tmp_path)
    wanted = {name for name in DEFAULTS if not name.startswith(".git/")}
    assert wanted <= set(names(tmp_path, defaults=False))
    assert not any(name.startswith(".git/") for name in names(tmp_path, defaults=False))


def test_names_that_only_look_installed_or_generated_are_read(tmp_path: Path) -> None:
    kept = ["build/a.md", "dist/a.md", "env/a.md", "target/a.md", "vendor/a.md", "venv/a.md", "virtualenv/a.md"]
    write(tmp_path, *kept, "node_modules.md", "admin.md", "lock.md")
    (tmp_path / "kept.md").write_text("Files that say @generated or DO NOT EDIT are made by a program.", "utf-8")
    (tmp_path / "target/CACHEDIR.TAG").write_text("not the signature", "utf-8")
    assert names(tmp_path) == sorted([*kept, "node_modules.md", "admin.md", "lock.md", "kept.md"])


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        (("drafts/",), ["a.md", "docs/b.md", "docs/old/c.md"]),
        (("*.md", "!docs/**"), ["docs/b.md", "docs/drafts/d.md", "docs/old/c.md"]),
        (("/docs/old",), ["a.md", "docs/b.md", "docs/drafts/d.md", "drafts/e.md"]),
        (("drafts/", "!docs/drafts/"), ["a.md", "docs/b.md", "docs/drafts/d.md", "docs/old/c.md"]),
        (("!node_modules/",), [
            "a.md", "docs/b.md", "docs/drafts/d.md", "docs/old/c.md", "drafts/e.md", "node_modules/p/README.md",
        ]),
    ],
)  # fmt: skip
def test_patterns_of_the_user_have_the_last_word(tmp_path: Path, exclude: tuple[str, ...], expected: list[str]) -> None:
    write(tmp_path, "a.md", "docs/b.md", "docs/old/c.md", "docs/drafts/d.md", "drafts/e.md", "node_modules/p/README.md")
    assert names(tmp_path, *exclude) == expected
    assert names(f"{tmp_path}/**/*.md", *exclude) == expected


def test_a_pattern_may_begin_with_the_source_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "docs/a.md", "docs/old/b.md")
    monkeypatch.chdir(tmp_path)
    for source in ("docs", "./docs", "docs/"):
        assert names(source, "docs/old/") == ["a.md"]
    assert names(tmp_path / "docs", f"{tmp_path}/docs/old/") == ["a.md"]
    assert names("docs", "docs") == ["a.md", "old/b.md"], "the folder itself was named"


def test_a_source_has_patterns_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "one/a.md", "one/b.md", "two/a.md", "two/b.md")
    sources = [SourceConfig(path=str(tmp_path / "one"), exclude=["b.md"]), SourceConfig(path=str(tmp_path / "two"))]
    assert [[file.name for file in source.files] for source in open_sources(sources)] == [["a.md"], ["a.md", "b.md"]]


def test_a_bad_pattern_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"`!` is no pattern"):
        DataConfig(exclude=["drafts/", "!"])
    with pytest.raises(ValueError, match=r"`!` is no pattern"):
        SourceConfig(path="docs", exclude=["!"])


def test_all_left_out_names_one_and_the_keys(tmp_path: Path) -> None:
    write(tmp_path, "node_modules/a.md")
    with pytest.raises(Exception, match="no documents in this folder") as caught:
        names(tmp_path)
    assert f"{tmp_path}/node_modules is left out" in str(getattr(caught.value, "hint", ""))
    assert "data.default_excludes" in str(getattr(caught.value, "hint", ""))
