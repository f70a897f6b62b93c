"""`python -m taxi_nb` is `taxi-nb`."""

from taxi_nb.cli import main

main()
