"""The command `poste`: also `python -m worker`.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration. An error is one line on standard
error that says what to do.
"""

import errno
import io
import sys

import click

from worker.cli import (
    audit_commands,
    dead_letter_commands,
    mailbox_commands,
    partition_commands,
    setup_commands,
)
from worker.cli.program import poste
from worker.errors import OperatorError

__all__ = ["main", "poste"]

#: Importing them adds their commands to `poste`.
_FAMILIES = (
    setup_commands, mailbox_commands, partition_commands, dead_letter_commands, audit_commands,
)  # fmt: skip

#: Errors of standard output, usually a full disk. click handles a closed pipe.
_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
#: Exit status after Ctrl-C, as in shells: 128 + SIGINT.
INTERRUPTED = 130


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        poste(prog_name="poste", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OperatorError as error:
        click.echo(f"poste: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_status)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        click.echo(f"poste: cannot write the output: {error.strerror}", err=True)
        sys.stdout = None  # else Python flushes it again, and fails
        sys.exit(1)
