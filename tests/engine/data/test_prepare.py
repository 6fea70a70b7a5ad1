"""Preparing: the same bytes every time, nothing lost or leaked, and an old dataset that survives every failure."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.readable_view import ViewedDocument, read_view

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.staleness import staleness
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.samples import CachingEncoder, encode_document
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import DataError, ResourceError
from nima_cli.events import DatasetReady, Event, Note, Progress
from tests.conftest import write_corpus

SPLITS = ("train", "val", "test")


def config(*paths: Path, **options: Any) -> DataConfig:
    return DataConfig(sources=[SourceConfig(path=str(path)) for path in paths], **options)


def run(data: DataConfig, out: Path, *, overwrite: bool = False, workers: int = 2) -> list[Event]:
    return list(prepare(data, out, overwrite=overwrite, workers=workers))


def metadata(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "dataset_metadata.json").read_text("utf-8"))
    return loaded


def hashes(out: Path) -> dict[str, str]:
    files = [path for path in out.iterdir() if path.is_file() and path.name not in (".lock", ".lock.owner")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def entries(out: Path, split: str) -> list[ViewedDocument]:
    return list(read_view((out / f"{split}.txt").read_text("utf-8")))


def decoded(out: Path, split: str) -> list[str]:
    """The text of every document of a split, from its ids."""
    tokenizer = load_tokenizer(out)
    tokens = np.fromfile(out / f"{split}.bin", dtype="<u2")
    index = np.load(out / f"{split}.index.npy")
    texts: dict[int, str] = {}
    bounds = [*index["offset"].tolist(), len(tokens)]
    for number, document in enumerate(index["document"].tolist()):
        texts[document] = texts.get(document, "") + tokenizer.decode(
            tokens[bounds[number] : bounds[number + 1]].tolist()
        )
    return [texts[number] for number in sorted(texts)]


def records(folder: Path, texts: list[str], name: str = "docs.json") -> Path:
    (folder / name).write_text(json.dumps([{"text": text} for text in texts]), "utf-8")
    return folder / name


def test_everything_read_is_in_exactly_one_split_and_decodes_exactly(tiny_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(tiny_corpus, max_length=128, heading_context=False), out)
    kept = metadata(out)
    assert sum(kept["splits"][split]["documents"] for split in SPLITS) == kept["sources"][0]["kept"] == 68
    seen: list[str] = []
    for split in SPLITS:
        documents = entries(out, split)
        shown = [entry.text + "".join(turn.content for turn in entry.turns) for entry in documents]
        found = decoded(out, split)
        system = "You answer questions about the platform."  # repeated where a conversation was cut
        assert [text.replace(system, "") for text in found] == [text.replace(system, "") for text in shown]
        counts = kept["splits"][split]
        assert counts["characters"] == sum(map(len, shown))
        assert counts["bytes"] == sum(len(text.encode()) for text in found)
        assert counts["samples"] == len(np.load(out / f"{split}.index.npy"))
        seen += shown
    assert len(set(seen)) == len(seen) == 68
    fences = [path.read_text("utf-8").split("```")[1] for path in tiny_corpus.glob("*.md")]
    assert all(any(fence in text for text in seen) for fence in fences)


def test_samples_fit_and_hold_their_boundaries(tiny_dataset: Path) -> None:
    tokenizer = load_tokenizer(tiny_dataset)
    for split in SPLITS:
        tokens = np.fromfile(tiny_dataset / f"{split}.bin", dtype="<u2")
        index = np.load(tiny_dataset / f"{split}.index.npy")
        samples = np.split(tokens, index["offset"][1:].astype(np.int64))
        documents = index["document"].tolist()
        talks = (index["kind"] > 1).tolist()
        closes = [
            talk or here != after for talk, here, after in zip(talks, documents, [*documents[1:], -1], strict=True)
        ]
        assert max(map(len, samples)) <= 128
        for sample, closed in zip(samples, closes, strict=True):
            assert sample[0] == tokenizer.bos_id
            assert (sample == tokenizer.bos_id).sum() == 1
            assert (sample == tokenizer.eos_id).sum() == closed
            assert (sample[-1] == tokenizer.eos_id) == closed


def test_the_metadata_says_what_it_promises(tiny_dataset: Path) -> None:
    kept = metadata(tiny_dataset)
    assert kept["format"] == 1
    assert kept["options"]["max_length"] == 128
    assert kept["seed"] == 42
    assert kept["tokenizer"]["vocab_size"] == 512
    assert kept["duplicates"] == {"exact": 0, "near": 0, "clusters": 1, "clustered": 2}
    assert kept["leaks"]["run_tokens"] == 50
    assert kept["leaks"]["test"]["near_duplicates"] == kept["leaks"]["val"]["near_duplicates"] == 0
    assert kept["cleaning"]["blank_lines"] > 0
    source = kept["sources"][0]
    assert source["documents"] == source["kept"] + sum(source["dropped"].values())
    on_disk = {path.name for path in tiny_dataset.iterdir()} - {".lock", "dataset_metadata.json"}
    assert set(kept["files"]) == on_disk
    assert {name: digest for name, digest in hashes(tiny_dataset).items() if name in on_disk} == kept["files"]


_AGAIN = """
import sys
from pathlib import Path
from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data import corpus, prepare
prepare.PARALLEL_FROM_BYTES = 0
corpus.TASK_CHARACTERS = 2000
if __name__ == "__main__":
    config = DataConfig.model_validate_json(sys.argv[1])
    for _ in prepare.prepare(config, Path(sys.argv[2]), overwrite=False, workers=int(sys.argv[3])): pass
"""


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_same_call_gives_the_same_bytes_anywhere(tiny_corpus: Path, tmp_path: Path, kind: str) -> None:
    script = tmp_path / "again.py"
    script.write_text(_AGAIN)
    paths = [tiny_corpus / "qa.json", tiny_corpus / "chat.json", tiny_corpus]
    found = []
    for number, workers in enumerate((1, 3)):
        data = config(*(paths[::-1] if number else paths), tokenizer=kind, max_length=64, loss="assistant")
        out = tmp_path / f"out{number}"
        where = tmp_path / f"cwd{number}"
        where.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": str(number + 1), "LC_ALL": "C" if number else "C.UTF-8"}
        subprocess.run(
            [sys.executable, script, data.model_dump_json(), str(out), str(workers)],
            env=environment, cwd=where, check=True, timeout=60,
        )  # fmt: skip
        found.append(hashes(out))
    assert found[0] == found[1]
    assert {f"tokenizer_{kind}.model", "train.mask", "val.txt", "test.index.npy"} <= set(found[0])
    assert (f"tokenizer_{kind}.json" in found[0]) == (kind == "bpe")


def test_another_seed_gives_another_split(tiny_corpus: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    run(config(tiny_corpus, vocab_size=512, max_length=128, seed=7), tmp_path / "out")
    assert entries(tmp_path / "out", "test") != entries(tiny_dataset, "test")


def test_the_split_follows_the_ratios(tmp_path: Path) -> None:
    source = records(tmp_path, [f"document {number} has some words in it, enough of them" for number in range(100)])
    run(config(source, tokenizer="char", train_ratio=0.6, val_ratio=0.3), tmp_path / "out")
    assert [metadata(tmp_path / "out")["splits"][split]["documents"] for split in SPLITS] == [60, 30, 10]


def test_the_tokenizer_sees_the_train_split_only(tmp_path: Path) -> None:
    words = [chr(0x4E00 + number) for number in range(60)]
    source = records(tmp_path, [f"{word * 9} belongs to one document only, number {word}" for word in words])
    run(config(source), tmp_path / "out")
    tokenizer = load_tokenizer(tmp_path / "out")
    pieces = "".join(tokenizer.piece(token_id) for token_id in range(tokenizer.vocab_size))
    texts = {split: "".join(entry.text for entry in entries(tmp_path / "out", split)) for split in SPLITS}
    held_out = [word for word in words if word in texts["val"] + texts["test"]]
    assert len(held_out) == 12
    assert not any(word in pieces for word in held_out)
    assert sum(word in pieces for word in words if word in texts["train"]) > 40


def test_duplicates_go_before_the_split_and_are_counted(tmp_path: Path) -> None:
    texts = [f"document {number} with some words of its own" for number in range(20)]
    source = records(tmp_path, [*texts, *(text.upper().replace(" ", "  ") for text in texts[:8])])
    run(config(source, tokenizer="char"), tmp_path / "out")
    kept = metadata(tmp_path / "out")
    assert kept["duplicates"]["exact"] == 8
    assert kept["sources"][0]["dropped"] == {"duplicate": 8}
    assert kept["sources"][0]["kept"] == 20
    run(config(source, tokenizer="char", dedupe="off"), tmp_path / "all")
    assert metadata(tmp_path / "all")["duplicates"]["exact"] is None
    assert metadata(tmp_path / "all")["sources"][0]["kept"] == 28


def sentence(number: int) -> str:
    return " ".join(f"w{(number * 7919 + place * (number + 3)) % 9973}" for place in range(90))


def test_near_duplicates_go_and_what_is_alike_stays_on_one_side(tmp_path: Path) -> None:
    originals = [sentence(number) for number in range(60)]
    nearly = [f"{text} and one more" for text in originals[:10]]
    alike = [" ".join(text.split()[:70]) + " " + sentence(100 + n)[:60] for n, text in enumerate(originals[10:40])]
    one = records(tmp_path, originals, "one.json")
    other = records(tmp_path, [*nearly, *alike], "other.json")
    run(config(one, other, tokenizer="char"), tmp_path / "out")
    kept = metadata(tmp_path / "out")
    assert kept["duplicates"] == {"exact": 0, "near": 10, "clusters": 30, "clustered": 60}
    assert {source["name"]: source["dropped"] for source in kept["sources"]} == {
        "one.json": {}, "other.json": {"near_duplicate": 10},
    }  # fmt: skip
    sides = [{entry.text[:200] for entry in entries(tmp_path / "out", split)} for split in SPLITS]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 60
    run(config(one, other, tokenizer="char", dedupe="exact"), tmp_path / "all")
    assert metadata(tmp_path / "all")["duplicates"]["near"] is None
    assert metadata(tmp_path / "all")["splits"]["train"]["documents"] == 80


def test_the_leak_report_names_what_train_and_test_share(tmp_path: Path) -> None:
    notice = sentence(500)
    texts = [f"{sentence(number)} {sentence(number + 200)} {notice}" for number in range(40)]
    source = records(tmp_path, texts)
    run(config(source), tmp_path / "out")
    leaks = metadata(tmp_path / "out")["leaks"]
    assert leaks["test"]["runs"] == leaks["test"]["documents"] == 4
    assert leaks["test"]["near_duplicates"] == 0
    assert leaks["test"]["sources"] == [{"source": "docs.json", "train_source": "docs.json", "runs": 4}]
    example = leaks["test"]["examples"][0]
    assert example["where"].startswith(f"{source}:")
    assert example["where"] != example["train_where"]
    assert example["begins"].split()[-1] in notice
    run(config(records(tmp_path, [sentence(n) for n in range(40)], "clean.json")), tmp_path / "clean")
    assert metadata(tmp_path / "clean")["leaks"]["test"]["runs"] == 0


def test_a_failure_while_encoding_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = records(tmp_path, [f"{sentence(number)} zebra{number}" for number in range(12)])
    decode = SentencePieceTokenizer.decode

    def forgetful(self: SentencePieceTokenizer, ids: list[int]) -> str:
        return decode(self, ids).replace("zebra5", "horse")

    monkeypatch.setattr(SentencePieceTokenizer, "decode", forgetful)
    with pytest.raises(DataError, match=rf"{source.name}:1 \(record 6\): the bpe tokenizer does not give"):
        run(config(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sample_that_teaches_nothing_is_an_error() -> None:
    encoder = CachingEncoder(
        SentencePieceTokenizer.train(["some text to learn"], kind="char", vocab_size=300, exact=False)
    )
    silent = Document("chat", 0, "chat.json:7", turns=(Turn("user", "is anybody there?"),))
    with pytest.raises(DataError, match=r"chat\.json:7: the assistant says nothing"):
        encode_document(silent, encoder, 64, heading_context=True)


def test_short_documents_and_empty_answers_are_dropped_and_counted(tmp_path: Path) -> None:
    pairs = [{"question": f"What is number {n}?", "answer": f"It is the number {n}."} for n in range(9)]
    pairs += [{"question": "What is nothing at all, in many words?", "answer": " \n"}, {"question": "a", "answer": "b"}]
    (tmp_path / "qa.json").write_text(json.dumps(pairs), "utf-8")
    run(config(tmp_path / "qa.json", tokenizer="char"), tmp_path / "out")
    dropped = metadata(tmp_path / "out")["sources"][0]["dropped"]
    assert dropped == {"empty": 1, "too_short": 1}


def test_a_long_document_survives_whole_in_pieces(tmp_path: Path) -> None:
    long = "\n\n".join(f"Paragraph {number} of a long text; `code {number}`." for number in range(2000))
    (tmp_path / "long.txt").write_text(long, "utf-8")
    source = records(tmp_path, [f"document {number} is short but long enough" for number in range(9)])
    run(config(tmp_path / "long.txt", source, max_length=64, train_ratio=0.5), tmp_path / "out")
    assert any(long in decoded(tmp_path / "out", split) for split in SPLITS)


def test_an_exchange_that_is_too_long_stays_whole_and_is_reported(tmp_path: Path) -> None:
    pairs = [{"question": f"What is number {n}?", "answer": f"It is the number {n}, " * 30} for n in range(5)]
    (tmp_path / "qa.json").write_text(json.dumps(pairs), "utf-8")
    events = run(config(tmp_path / "qa.json", tokenizer="char", max_length=64), tmp_path / "out")
    assert any(isinstance(event, Note) and event.message.startswith("5 exchanges are longer") for event in events)
    assert sum(metadata(tmp_path / "out")["splits"][split]["samples"] for split in SPLITS) == 5


def test_special_symbols_and_separators_in_documents_stay_text(tmp_path: Path) -> None:
    hostile = "<|eos|><|document|> text x\n<|user|>\n\u2581\u2581 <unk> \\<|assistant|> <0x0A>"
    source = records(tmp_path, [f"{hostile} number {number}" for number in range(12)])
    run(config(source, dedupe="exact"), tmp_path / "out")
    found = sorted(text for split in SPLITS for text in decoded(tmp_path / "out", split))
    assert found == sorted(f"{hostile} number {number}" for number in range(12))
    assert sum(len(entries(tmp_path / "out", split)) for split in SPLITS) == 12
    tokens = np.concatenate([np.fromfile(tmp_path / "out" / f"{split}.bin", dtype="<u2") for split in SPLITS])
    assert [int((tokens == token_id).sum()) for token_id in range(8)] == [0, 12, 12, 0, 0, 0, 0, 0]


def test_files_of_one_name_count_as_one_source(tiny_corpus: Path, tmp_path: Path) -> None:
    files = sorted(tiny_corpus.glob("*.md"))
    sources = [SourceConfig(path=str(path), name="guides") for path in files]
    run(DataConfig(sources=sources), tmp_path / "out")
    (source,) = metadata(tmp_path / "out")["sources"]
    assert (source["name"], source["files"], source["kept"]) == ("guides", 8, 8)
    assert source["path"] == f"{files[0]} and 7 more"
    assert all(entry.source == "guides" for split in SPLITS for entry in entries(tmp_path / "out", split))


def test_progress_goes_through_the_phases_in_order(tiny_corpus: Path, tmp_path: Path) -> None:
    events = run(config(tiny_corpus), tmp_path / "out")
    phases = list(dict.fromkeys(event.phase for event in events if isinstance(event, Progress)))
    assert phases == ["read", "dedupe", "tokenizer", "encode", "leaks"]
    last = events[-1]
    assert isinstance(last, DatasetReady)
    assert last.documents == 68
    assert any(isinstance(event, Note) and "vocabulary of 512 tokens" in event.message for event in events)


# --- what is already there ---------------------------------------------------------------------------------------


def test_the_same_dataset_is_not_made_again_unless_asked(tiny_corpus: Path, tmp_path: Path) -> None:
    data, out = config(tiny_corpus), tmp_path / "out"
    assert staleness(data, out) == "it has not been prepared yet"
    first = run(data, out)[-1]
    assert staleness(data, out) is None
    before = (out / "train.bin").stat().st_mtime_ns
    note, again = run(data, out)
    assert isinstance(note, Note)
    assert "already prepared" in note.message
    assert again == first
    assert (out / "train.bin").stat().st_mtime_ns == before
    run(data, out, overwrite=True)
    assert (out / "train.bin").stat().st_mtime_ns != before


def test_other_options_or_sources_need_overwrite(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    corpus, out = write_corpus(tmp_path / "in"), tmp_path / "out"
    run(config(corpus, loss="assistant"), out)
    before = hashes(out)
    other = config(corpus, max_length=1024, tokenizer="unigram")
    with pytest.raises(DataError, match=r"`tokenizer` bpe -> unigram, `max_length` 512 -> 1024") as caught:
        run(other, out)
    assert "`overwrite=True`" in str(caught.value.hint)
    assert hashes(out) == before
    with (corpus / "cache.md").open("a") as stream:
        stream.write("\nOne more line.\n")
    assert staleness(config(corpus, loss="assistant"), out) == "its sources were others, or have changed since"
    run(other, out, overwrite=True)
    assert {"tokenizer_bpe.model", "train.mask"}.isdisjoint(path.name for path in out.iterdir())
    assert staleness(other, out) is None


def test_a_damaged_dataset_is_stale(tiny_corpus: Path, tmp_path: Path) -> None:
    run(config(tiny_corpus), tmp_path / "out")
    (tmp_path / "out" / "val.bin").write_bytes(b"")
    assert "altered since" in str(staleness(config(tiny_corpus), tmp_path / "out"))


def test_files_that_only_share_our_names_are_not_overwritten(tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("my own text")
    with pytest.raises(DataError, match=r"train\.txt: is already there and belongs to no prepared dataset"):
        run(config(tiny_corpus), tmp_path)
    assert (tmp_path / "train.txt").read_text() == "my own text"


def test_a_tokenizer_is_reused(tiny_corpus: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    data = config(tiny_corpus / "docs.json", tokenizer_from=str(tiny_dataset))
    run(data, tmp_path / "out")
    assert metadata(tmp_path / "out")["tokenizer"]["sha256"] == metadata(tiny_dataset)["tokenizer"]["sha256"]
    with pytest.raises(DataError, match="`vocab_size` 600 contradicts `tokenizer_from`, which has 512"):
        run(config(tiny_corpus, tokenizer_from=str(tiny_dataset), vocab_size=600), tmp_path / "other")


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["same words in every document, again"] * 5, r"1 usable document, .*\(left out: 4 duplicate\)"),
        (["one document that is long enough", "a second document, long enough"], "2 usable documents"),
        (["short", "tiny", "small", "longer"], r"0 usable .*\(left out: 4 too short; the longest has 6 characters\)"),
    ],
)
def test_too_few_documents_are_an_error_and_leave_nothing(tmp_path: Path, texts: list[str], message: str) -> None:
    source = records(tmp_path, texts)
    with pytest.raises(DataError, match=message):
        run(config(source, min_length=20), tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_all_problems_are_told_at_once_and_nothing_is_written(tiny_corpus: Path, tmp_path: Path) -> None:
    lines = ["{}", "[1]", "not json", '{"question": "a", "answer": "b"}'] * 9
    (tmp_path / "bad.jsonl").write_text("\n".join(lines), "utf-8")
    with pytest.raises(DataError) as caught:
        run(config(tiny_corpus, tmp_path / "bad.jsonl"), tmp_path / "out")
    told = caught.value.message.split("\n")
    assert [line.removeprefix(f"{tmp_path / 'bad.jsonl'}:").split(" ")[0] for line in told] == [
        "1:",
        "2:",
        "3:1:",
        "5:",
    ]
    assert told[1].endswith("found a list (and 8 more records like it)")
    assert not (tmp_path / "out").exists()
    run(config(tiny_corpus, tmp_path / "bad.jsonl", on_error="skip"), tmp_path / "out")
    (source,) = (source for source in metadata(tmp_path / "out")["sources"] if source["name"] == "bad.jsonl")
    assert source["documents"] == source["kept"] + sum(source["dropped"].values()) == 36


def test_a_vocabulary_that_the_text_cannot_fill_is_an_error(tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`vocab_size` 60000 does not fit this text: at most \d+"):
        run(config(tiny_corpus, vocab_size=60000), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_a_file_is_refused_before_reading(tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ResourceError, match="is a file, not a folder"):
        run(config(tiny_corpus), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to write files beyond `size` bytes, as a full disk would."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_leaves_the_old_dataset_as_it_was(tiny_corpus: Path, tmp_path: Path) -> None:
    data, out = config(tiny_corpus), tmp_path / "out"
    run(data, out)
    before = hashes(out)
    with largest_file(4096), pytest.raises(ResourceError, match="cannot write"):
        run(data, out, overwrite=True)
    assert hashes(out) == before
    assert staleness(data, out) is None
    with largest_file(4096), pytest.raises(ResourceError, match="cannot write"):
        run(data, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("phase", ["read", "encode", "leaks"])
def test_stopping_in_the_middle_leaves_the_old_dataset_and_no_litter(
    tiny_corpus: Path, tmp_path: Path, phase: str
) -> None:
    data, out = config(tiny_corpus), tmp_path / "out"
    run(data, out)
    before = hashes(out)
    events = prepare(config(tiny_corpus, max_length=64), out, overwrite=True, workers=2)
    assert any(isinstance(event, Progress) and event.phase == phase for event in events)
    events.close()  # type: ignore[attr-defined]
    assert hashes(out) == before
    assert not list(out.glob(".staging-*"))


_KILLED = """
import os, signal, sys
from pathlib import Path
from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.prepare import prepare
wanted, moved = int(sys.argv[3]), 0
replace = os.replace
def dying(source, target):
    global moved
    moved += 1
    if moved == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dying
for _ in prepare(DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), overwrite=True, workers=1): pass
"""


@pytest.mark.parametrize("moment", [1, 2, 7, 12])
def test_a_process_killed_while_moving_leaves_the_old_dataset_or_none(
    tiny_corpus: Path, tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "out"
    run(config(tiny_corpus), out)
    before = hashes(out)
    data = config(tiny_corpus, max_length=64)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, data.model_dump_json(), str(out), str(moment)], check=False, timeout=60
    )
    assert killed.returncode == -9
    left = {name: digest for name, digest in hashes(out).items() if name in before}
    assert left == before or "dataset_metadata.json" not in left
    run(data, out, overwrite="dataset_metadata.json" in left)
    assert staleness(data, out) is None
    assert not list(out.glob(".staging-*"))


def test_two_processes_do_not_write_one_dataset(tiny_corpus: Path, tmp_path: Path) -> None:
    first = prepare(config(tiny_corpus), tmp_path / "out", overwrite=False, workers=1)
    next(first)
    try:
        with pytest.raises(ResourceError, match="in use by pid"):
            run(config(tiny_corpus), tmp_path / "out")
    finally:
        first.close()  # type: ignore[attr-defined]
    run(config(tiny_corpus), tmp_path / "out")


@pytest.mark.corpus
def test_every_code_fence_of_the_real_corpus_survives(tmp_path: Path) -> None:
    corpus = os.environ.get("NIMA_TEST_CORPUS")
    if not corpus:
        pytest.skip("NIMA_TEST_CORPUS names no folder")
    from nima_cli.engine.data.cleaning.markdown import blocks

    files = sorted(Path(corpus).glob("docs/kubernetes/**/concepts/**/*.md"))
    run(config(*files, dedupe="off"), tmp_path / "out")
    texts = "\0".join(text for split in SPLITS for text in decoded(tmp_path / "out", split))
    fences = 0
    for path in files:
        text = path.read_text("utf-8").replace("\r\n", "\n")
        lines = text.split("\n")
        for block in blocks(text):
            if block.kind == "fence":
                fences += 1
                assert "\n".join(lines[block.start : block.end]) in texts, f"{path}:{block.start + 1}"
    assert fences > 500
