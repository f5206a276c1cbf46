"""Loads the settings from a TOML file, overridden by the environment.

    poste --config poste.toml ...       or POSTE_CONFIG=poste.toml
    POSTE_KAFKA__BOOTSTRAP_SERVERS=...  overrides `bootstrap_servers` of the section [kafka]

Both refuse unknown keys, except the variables that Kubernetes sets for a Service named `poste`.
Every error is one line that names the key and its origin.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from worker.errors import ConfigurationError
from worker.service_links import is_service_link
from worker.settings import ENV_DELIMITER, ENV_PREFIX, Settings, setting_fields

#: The variable that names the file: the only one with the prefix that is not a setting.
CONFIG_VARIABLE = "POSTE_CONFIG"


def load_settings(
    path: Path | None, environ: Mapping[str, str], names: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of a file (or of the one that POSTE_CONFIG names) and an environment.

    names: of variables that stand for a command's options, as errors call them.

    Raises ConfigurationError, in one line that names the key and what to do.
    """
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    values = {} if path is None else _read(path)
    _refuse_unknown_variables(environ)
    try:
        given = _PosteEnvironment(environ)()
    except (SettingsError, RecursionError):  # of the one setting that is not a plain value
        raise ConfigurationError(
            'receipt_keys: not a JSON list, such as ["secret"] (POSTE_RECEIPT_KEYS)'
        ) from None
    given.pop("config", None)
    try:
        return Settings(**_merged(values, given))
    except ValidationError as error:
        raise ConfigurationError(_one_line(error, path, environ, names or {})) from None


def variable_name(setting: str) -> str:
    """Return the environment variable of a setting: `kafka.topic` is POSTE_KAFKA__TOPIC."""
    return ENV_PREFIX + setting.replace(".", ENV_DELIMITER).upper()


class _PosteEnvironment(EnvSettingsSource):
    """Reads the environment that the caller passes, not that of the process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name.lower(): value for name, value in environ.items()}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number too long to be one
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _one_line(
    error: ValidationError, path: Path | None, environ: Mapping[str, str], names: Mapping[str, str]
) -> str:
    """Return the first error, with the key as the file spells it, and its origin."""
    first = error.errors(include_url=False, include_input=False)[0]
    parts = [str(part) for part in first["loc"] if not isinstance(part, int)]
    key = ".".join(parts) or "configuration"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r} in {path}{_nearest(key, _keys(key))}{more}"
    variable = variable_name(key)
    given = names.get(variable, variable)
    origin = given if variable in environ else str(path) if path else "the environment"
    return f"{key}: {first['msg'].removeprefix('Value error, ')} ({origin}){more}"


def _keys(unknown: str) -> set[str]:
    """Return what an unknown key may have been meant for: settings, and at the top level
    sections."""
    names = {name for name, _ in setting_fields()}
    return names if "." in unknown else names | {name.partition(".")[0] for name in names}


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else "; see `poste config show`"


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {variable_name(name) for name, _ in setting_fields()} | {CONFIG_VARIABLE}
    for variable, value in sorted(environ.items()):
        name = variable.upper()
        ours = name.startswith(ENV_PREFIX) and not is_service_link(variable, value)
        if ours and name not in known:
            near = _nearest(name, known)
            raise ConfigurationError(f"unknown variable {variable} in the environment{near}")
