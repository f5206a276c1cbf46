"""The settings as documents show them, generated from the model so that they cannot drift.

python -m worker.settings_reference            the table of docs/operations.md
python -m worker.settings_reference --toml     config/poste.toml
"""

import json
import sys
import textwrap
from typing import Any, get_args

from pydantic.fields import FieldInfo

from worker.memory_limits import effective_mb
from worker.settings import DEAD_LETTERS_SUFFIX, KafkaSettings, Settings, setting_fields

#: Columns of the sample file.
_WIDTH = 96

_SAMPLE_HEAD = """\
# Settings of the worker and of the command `poste`, with their defaults. Remove the `#` to change
# one. `poste --config FILE config check` validates the file; unknown keys are refused. Environment
# variables override it: POSTE_KAFKA__TOPIC is `topic` of the section [kafka], POSTE_DRAIN_S is
# `drain_s`. AWS endpoint, region and credentials are the AWS SDK's own variables and files.
"""


def shown(settings: Settings, allowed_bytes: int | None = None) -> dict[str, Any]:
    """Return the effective settings as plain values, secrets hidden, for `config show`.
    allowed_bytes: the cgroup's memory limit."""
    dumped: dict[str, Any] = settings.model_dump(mode="json")
    return {**dumped, "memory_mb": effective_mb(settings.memory_mb, allowed_bytes)}


def markdown_table() -> str:
    """Return the table of settings in docs/operations.md."""
    lines = ["| setting | default | |", "|---|---|---|"]
    for name, field in setting_fields():
        default = _default(name, field)
        text = "" if default in (None, []) else f"`{json.dumps(default)}`"
        lines.append(f"| `{name}` | {text} | {_description(field)} |")
    return "\n".join(lines)


def sample_toml() -> str:
    """Return the file config/poste.toml: every setting, in comments, with its default."""
    parts, section = [_SAMPLE_HEAD], ""
    for name, field in setting_fields():
        above, _, key = name.rpartition(".")
        if above != section:
            section = above
            parts.append(f"\n[{section}]\n")
        default = _default(name, field)
        value = '"..."' if default is None else json.dumps(default)
        comment = textwrap.fill(
            _description(field), _WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        parts.append(f"\n{comment}\n# {key} = {value}\n")
    return "".join(parts)


def _default(name: str, field: FieldInfo) -> Any:
    """Return the default as TOML and JSON both write it; None: there is none."""
    if name == "kafka.dead_letters_topic":
        return KafkaSettings.model_fields["topic"].default + DEAD_LETTERS_SUFFIX
    default = field.get_default()
    return list(default) if isinstance(default, tuple) else default


def _description(field: FieldInfo) -> str:
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    said = ", ".join(f"`{choice}`" for choice in choices)
    return f"{field.description}: {said}" if choices else f"{field.description}"


if __name__ == "__main__":
    sys.stdout.write(sample_toml() if "--toml" in sys.argv else markdown_table() + "\n")
