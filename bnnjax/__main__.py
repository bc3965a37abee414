"""`python -m bnnjax`, the same as the command `bnnjax`."""

from bnnjax.cli.commands import main

# Processes that decode or prepare images import this module again.
if __name__ == "__main__":
    main()
