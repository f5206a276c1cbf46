"""The entry point of `poste`, which is also `python -m worker`."""

import sys

from worker.signals import end_at_once, is_worker


def main() -> None:
    """Handle signals, then load the program, which takes about a second."""
    if is_worker(sys.argv[1:]):
        end_at_once()
    from worker.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
