"""`python -m aml`: the same as the console script `aml`."""

from aml.cli import main

if __name__ == "__main__":
    main()
