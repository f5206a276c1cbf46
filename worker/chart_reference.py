"""The settings as the Helm chart knows them, generated from the model so that they cannot drift.

python -m worker.chart_reference deploy/helm/poste-restante    writes the chart's generated parts

In `values.schema.json`: `definitions.settings`, `definitions.files` and `definitions.variables`.
`files/defaults.json`: the worker's defaults, by name of the setting.
"""

import json
import sys
import typing
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from worker.config_file import variable_name
from worker.memory_limits import MEMORY_MB_MIN
from worker.settings import setting_fields

#: Files without a secret.
_PUBLIC = {"kafka.ssl_cafile", "kafka.ssl_certfile"}
#: What a schema adds to the field's own limits: validators in Python, and what a pod needs.
_NARROWER: dict[str, dict[str, Any]] = {
    "memory_mb": {"anyOf": [{"const": 0}, {"minimum": MEMORY_MB_MIN}]},
    "kafka.bootstrap_servers": {
        "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[1-9][0-9]{0,4}"
        r"(,(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[1-9][0-9]{0,4})*$"
    },
    "kafka.topic": {"pattern": "^[A-Za-z0-9._-]{1,249}$"},
    "kafka.dead_letters_topic": {"pattern": "^[A-Za-z0-9._-]{0,249}$"},
    "kafka.group_instance_id": {"pattern": r"^([A-Za-z0-9._-]|\{hostname\}){0,249}$"},
    "kafka.start": {
        "pattern": r"^(earliest|latest|group"
        r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
        r"(Z|[+-][0-9]{2}:[0-9]{2}))$"
    },
    "kafka.sasl_oauth_token_provider": {"pattern": r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$"},
    # Helm's regular expressions repeat up to 1,000 times.
    "dynamodb.table": {"pattern": "^([A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1000})$"},
    # Probes and Prometheus come to the pod's own address, and probes need the server.
    "http.host": {"enum": ["0.0.0.0", "::"]},  # noqa: S104 - a schema
    "http.port": {"minimum": 1},
}


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of the value `settings`: every setting that is neither a secret nor a
    file."""
    plain = {n: f for n, f in setting_fields() if not _is_secret(f) and not _is_file(f)}
    schema = _nested({name: _schema(name, field) for name, field in plain.items()})
    schema["required"] = ["kafka"]
    schema["properties"]["kafka"]["required"] = ["bootstrap_servers"]
    return schema


def files_schema() -> dict[str, Any]:
    """Return the JSON schema of the value `files`: every setting that names a file. Certificates
    may be in a ConfigMap; passwords and keys are in a Secret."""
    return _nested(
        {
            name: {
                "description": field.description,
                "$ref": f"#/definitions/{'anyKey' if name in _PUBLIC else 'secretKey'}",
            }
            for name, field in setting_fields()
            if _is_file(field)
        }
    )


def variables_schema() -> dict[str, Any]:
    """Return the JSON schema of a name in `env`: any, but of those that begin with POSTE_ only the
    variables of settings that the chart does not set itself."""
    taken = {"http.host", "http.port"}
    names = [
        variable_name(name)
        for name, field in setting_fields()
        if name not in taken and not _is_secret(field) and not _is_file(field)
    ]
    return {
        "anyOf": [
            {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": {"pattern": "^[Pp][Oo][Ss][Tt][Ee]_"}},
            {"enum": names},
        ]
    }


def defaults() -> dict[str, Any]:
    """Return the defaults of the value `settings`, by name; None where there is none."""
    return {
        name: field.get_default()
        for name, field in setting_fields()
        if not _is_secret(field) and not _is_file(field)
    }


def generated(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of all values, with its generated parts as they are to be."""
    definitions = {
        **schema["definitions"],
        "settings": settings_schema(),
        "files": files_schema(),
        "variables": variables_schema(),
    }
    return {**schema, "definitions": definitions}


def as_json(value: Any) -> str:
    """Return the text of a generated file."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _nested(by_name: dict[str, dict[str, Any]]) -> dict[str, Any]:
    top = _object()
    for name, schema in by_name.items():
        section, _, key = name.rpartition(".")
        inner = top["properties"].setdefault(section, _object()) if section else top
        inner["properties"][key] = schema
    return top


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _schema(name: str, field: FieldInfo) -> dict[str, Any]:
    annotation: Any = typing.Annotated[field.annotation, field]
    schema: dict[str, Any] = TypeAdapter(annotation).json_schema()
    for left_out in ("default", "title"):
        schema.pop(left_out, None)
    if "anyOf" in schema:  # a value or none, which is here the same as leaving it out
        (value,) = (kind for kind in schema.pop("anyOf") if kind != {"type": "null"})
        schema |= value
    return schema | _NARROWER.get(name, {})


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _is_file(field: FieldInfo) -> bool:
    return Path in typing.get_args(field.annotation)


if __name__ == "__main__":
    chart = Path(sys.argv[1])
    values = chart / "values.schema.json"
    values.write_text(as_json(generated(json.loads(values.read_text()))))
    (chart / "files" / "defaults.json").write_text(as_json(defaults()))
