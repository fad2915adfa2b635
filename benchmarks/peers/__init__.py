"""The peers of our trainer, written as their experienced users write them: Keras, JAX, PyTorch."""
