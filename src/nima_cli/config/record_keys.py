"""The keys of records that nima knows, by what they hold; `data.fields` maps other keys to them."""

MESSAGE_KEYS = ("messages", "conversations", "conversation")
QUESTION_KEYS = ("question", "instruction", "prompt", "query", "input")
ANSWER_KEYS = ("answer", "output", "completion", "response")
CONTEXT_KEYS = ("input", "context")
SYSTEM_KEYS = ("system", "system_prompt")
TEXT_KEYS = ("content", "text", "body", "page_content")
TITLE_KEY = "title"
RECORD_KEYS = tuple(
    dict.fromkeys((*MESSAGE_KEYS, *QUESTION_KEYS, *ANSWER_KEYS, *CONTEXT_KEYS, *SYSTEM_KEYS, *TEXT_KEYS, TITLE_KEY))
)
