"""New images of a trained model."""
