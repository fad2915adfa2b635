"""The building blocks: examples, sources, distributions, the VAE, metrics, figures, artifacts."""
