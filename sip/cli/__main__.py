"""`python -m sip.cli`, the same as `sip`."""

from sip.cli import main

main()
