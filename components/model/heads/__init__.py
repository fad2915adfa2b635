"""Decoder heads: how the pixels of an image depend on one another, given the latents."""
