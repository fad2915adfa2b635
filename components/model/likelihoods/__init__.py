"""The families of likelihoods p(x|z): what the outputs of a decoder mean."""
