"""A secret in a file, as container platforms mount it."""

from pathlib import Path

from worker.errors import ConfigurationError


class SecretFile:
    """One secret. Each `read` sees the present content, so the file can be replaced.

    setting: named in errors. Its text is never part of an error, a log line or a representation.
    """

    def __init__(self, setting: str, path: Path) -> None:
        self._setting = setting
        self._path = path

    def read(self) -> str:
        """Return the secret, without a line break at its end.

        Raises ConfigurationError, which names the setting and the file, where it cannot be read, is
        not UTF-8, or is empty.
        """
        try:
            text = self._path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from None
        except ValueError:  # a null in the path too
            raise self._unusable("it is not UTF-8") from None
        if not text:
            raise self._unusable("it is empty")
        return text

    def _unusable(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self._setting}: cannot read {self._path}: {reason}")
