"""The export stage: a trained model in formats that other programs run without this project."""
