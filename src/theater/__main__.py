"""`python -m theater`."""

from theater.cli import main

main()
