"""How it runs: the stages, their Beam transforms, the command line."""
