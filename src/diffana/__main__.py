"""`python -m diffana`."""

from diffana.cli import main


main(prog_name="diffana")
