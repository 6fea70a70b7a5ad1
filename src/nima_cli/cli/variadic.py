"""Lets one flag take many values, as a shell expands `docs/*.md`; knows nothing of what the flags mean."""

from collections.abc import Sequence

MANY = frozenset({"--text-files", "--json-files", "--jsonl-files", "--exclude", "--prompt", "--metric"})


def expand_variadic_options(argv: Sequence[str]) -> list[str]:
    """Repeat a many-valued flag before each further value: `--f a b` becomes `--f a --f b`.

    Typer, like Click, takes one value per option. A value that starts with a dash must be written `--f=-x`;
    a lone `-` (standard input) is a value. Nothing after `--` is touched.
    """
    result: list[str] = []
    flag: str | None = None
    filled = False
    for index, word in enumerate(argv):
        if word == "--":
            return [*result, *argv[index:]]
        if word.startswith("-") and word != "-":
            name = word.split("=", 1)[0]
            flag, filled = (name if name in MANY else None), "=" in word
        elif flag is not None:
            if filled:
                result.append(flag)
            filled = True
        result.append(word)
    return result
