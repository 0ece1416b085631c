"""One script per question. Each prints a table and writes JSON; `make bench` runs them."""
