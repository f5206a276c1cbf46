"""Kafka's command-line tools with an address."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Seconds for one of Kafka's command-line tools; 2 measured.
TOOL_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class KafkaTool:
    """A tool of Kafka. command: starts a tool, before its main class. bootstrap: as the tool
    reaches the broker."""

    command: tuple[str, ...]
    bootstrap: str

    def __call__(self, main: str, *arguments: str, text: str | None = None) -> str:
        """Run a tool, by its main class, with this input; return its output. Raises
        RuntimeError."""
        command = [*self.command, main, "--bootstrap-server", self.bootstrap, *arguments]
        return run_command(command, what=main, seconds=TOOL_S_MAX, text=text)


def run_command(
    command: Sequence[str],
    *,
    what: str,
    seconds: float,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Return the output of a command. Raises RuntimeError, with its last output, on failure."""
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
