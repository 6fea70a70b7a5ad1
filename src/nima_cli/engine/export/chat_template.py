"""The chat format as a Jinja template, for programs that have no `render.py`; it says what that module does."""

from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, END, EOS, ROLE_SYMBOLS

_ROLES = ", ".join(f"'{role}'" for role in ROLE_SYMBOLS)

# One line, so that no setting for white space changes what it renders.
CHAT_TEMPLATE = (
    f"{{{{ '{BOS}' }}}}"
    "{% for message in messages %}"
    f"{{% if message['role'] not in [{_ROLES}] %}}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    f"{{{{ '<|' + message['role'] + '|>' + message['content'] + '{END}' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{ROLE_SYMBOLS['assistant']}' }}}}{{% else %}}{{{{ '{EOS}' }}}}{{% endif %}}"
)
