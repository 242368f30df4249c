"""`python -m blipq` is `blipq`."""

from blipq.producer.cli import main

main()
