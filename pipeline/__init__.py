"""The stages, the Beam transform that they use, and the command line."""
