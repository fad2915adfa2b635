"""The network architectures of a VAE, each an encoder and a decoder."""
