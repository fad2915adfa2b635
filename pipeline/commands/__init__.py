"""One module per command of `python -m pipeline`: its options, and how they reach its stage."""
