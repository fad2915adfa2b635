"""How the VAE learns: the training loop, devices, optimizers, schedules and checkpoints."""
