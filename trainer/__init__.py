"""How the VAE learns: loop, strategy, precision, optimizer, checkpoints."""
