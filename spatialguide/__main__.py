"""`python -m spatialguide` is the command line."""

from spatialguide.cli import main

main()
