"""`python -m spatialguide` is the command line."""

from spatialguide.commands.main import main

main()
