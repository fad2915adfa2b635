"""What things are: examples, sources, distributions, the VAE, metrics, figures, artifacts."""
