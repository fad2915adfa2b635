"""One module per command of `python -m pipeline`: its options, and the call of its stage."""
