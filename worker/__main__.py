"""`python -m worker` is `poste`."""

from worker.cli import main

main()
