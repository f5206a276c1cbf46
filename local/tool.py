"""Kafka's own command-line tools, as programs with an address."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Seconds that one of Kafka's own command-line tools may take; 2 measured.
TOOL_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class KafkaTool:
    """command: what starts a tool, in front of its main class. bootstrap: as it reaches the
    broker."""

    command: tuple[str, ...]
    bootstrap: str

    def __call__(self, main: str, *arguments: str, text: str | None = None) -> str:
        """Run one, by its main class, with this input; what it printed. Raises RuntimeError."""
        command = [*self.command, main, "--bootstrap-server", self.bootstrap, *arguments]
        return printed(command, what=main, seconds=TOOL_S_MAX, text=text)


def printed(
    command: Sequence[str],
    *,
    what: str,
    seconds: float,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a command printed. Raises RuntimeError, with its last words, when it fails."""
    try:
        done = subprocess.run(
            command, input="" if text is None else text,
            capture_output=True, text=True, check=False, timeout=seconds, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{what}: not done after {seconds:.0f} s") from error
    if done.returncode != 0:
        raise RuntimeError(f"{what}: {done.stdout[-2000:]}{done.stderr[-2000:]}".rstrip())
    return done.stdout
