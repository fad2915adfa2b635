"""The priors p(z) of a VAE, one module each."""
