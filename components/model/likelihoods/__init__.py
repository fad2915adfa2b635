"""The families of likelihoods p(x|z), which interpret the outputs of a decoder."""
