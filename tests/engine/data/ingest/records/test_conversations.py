"""Messages with tools, parts and weights: what becomes which turn, and what is said of the rest."""

from typing import Any

import pytest

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.ingest.records.conversations import RecordNotes, read_turns

ASK = {"role": "user", "content": "How full is it?"}
SAY = {"role": "assistant", "content": "It is 7."}
FUNCTION = {"name": "level", "arguments": '{ "tank" : 2 }'}
CALL = {"id": "c", "type": "function", "function": FUNCTION}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CALLED = '<tool_call>\n{"name": "level", "arguments": {"tank": 2}}\n</tool_call>'
TOOL = {"role": "tool", "tool_call_id": "c", "content": "7"}
ANSWERED = "<tool_response>\n7\n</tool_response>"


def turns(*messages: dict[str, Any], notes: RecordNotes | None = None) -> list[tuple[str, str, int]]:
    read = read_turns(list(messages), "messages", notes or RecordNotes())
    return [(turn.role, turn.content, turn.weight) for turn in read]


def spoken(*messages: dict[str, Any]) -> list[tuple[str, str]]:
    return [(role, content) for role, content, _ in turns(*messages)]


ENDS = [("user", "How full is it?"), ("assistant", CALLED), ("user", ANSWERED), ("assistant", "It is 7.")]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (CALLS, TOOL),
        ({"role": "assistant", "tool_calls": [CALL]}, TOOL),
        ({**CALLS, "tool_calls": [FUNCTION]}, TOOL),
        ({**CALLS, "tool_calls": [{"function": {"name": "level", "arguments": {"tank": 2}}}]}, TOOL),
        ({"role": "assistant", "content": None, "function_call": FUNCTION}, {**TOOL, "role": "function"}),
        (
            {"from": "function_call", "value": '{"name": "level", "arguments": {"tank": 2}}'},
            {**TOOL, "role": "observation"},
        ),
        ({"from": "gpt", "value": CALLED}, {"from": "tool", "value": ANSWERED}),
    ],
)
def test_tools_are_told_in_turns_of_user_and_assistant(call: dict[str, Any], answer: dict[str, Any]) -> None:
    assert spoken(ASK, call, answer, SAY) == ENDS


def test_text_comes_before_calls_and_answers_of_tools_are_one_turn() -> None:
    both = {**CALLS, "content": "Let me see.", "tool_calls": [CALL, {"function": {"name": "now"}}]}
    assert spoken(ASK, both, TOOL, {**TOOL, "content": ""}, SAY)[1:3] == [
        ("assistant", f'Let me see.\n{CALLED}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>'),
        ("user", f"{ANSWERED}\n<tool_response>\n\n</tool_response>"),
    ]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ("", "{}"),
        (None, "{}"),
        ("tank two", '"tank two"'),
        ('{"a": 1} {"b": 2}', '"{\\"a\\": 1} {\\"b\\": 2}"'),
        ('{"city": "K\\u00f6ln"}', '{"city": "Köln"}'),
    ],
)
def test_arguments_are_written_as_json(arguments: str | None, written: str) -> None:
    call = {"role": "assistant", "function_call": {"name": "f", "arguments": arguments}}
    assert f'"arguments": {written}}}' in spoken(ASK, call)[1][1]


@pytest.mark.parametrize("arguments", ['{"a": "\\ud800"}', '{"a": 1e999}'])
def test_arguments_that_cannot_be_written_are_refused(arguments: str) -> None:
    with pytest.raises(UnusableError, match=r"messages\[1\]\.function_call"):
        turns(ASK, {"role": "assistant", "function_call": {"name": "f", "arguments": arguments}})


def test_parts_that_are_text_are_joined_and_others_are_counted() -> None:
    notes = RecordNotes()
    image = {"type": "image_url", "image_url": {"url": "a.png"}}
    parts = [{"type": "text", "text": "What"}, image, {"type": "input_text", "text": "is this?"}, "Say it."]
    assert turns({**ASK, "content": parts}, SAY, notes=notes)[0][1] == "What\nis this?\nSay it."
    assert dict(notes.other_parts) == {"image_url": 1}


def test_keys_of_messages_that_are_not_used_are_noted() -> None:
    notes = RecordNotes()
    turns({**ASK, "name": "Ann"}, {**CALLS, "refusal": None}, {**TOOL, "id": 1}, {**SAY, "weight": 1}, notes=notes)
    assert notes.unused_keys == {"messages[].name", "messages[].refusal", "messages[].id"}


def test_weights_are_kept_and_the_least_one_counts_for_what_is_merged() -> None:
    read = turns(ASK, {**CALLS, "weight": 0}, TOOL, {**TOOL, "weight": 0}, {**SAY, "weight": 1.0})
    assert [weight for _, _, weight in read] == [1, 0, 0, 1]
    assert turns(ASK, {**SAY, "weight": None}) == [(*ENDS[0], 1), (*ENDS[3], 1)]
    assert Turn("user", "a") == Turn("user", "a", 1)
