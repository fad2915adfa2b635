"""Lossless compression with a VAE: bits-back coding."""
