"""Images to a compressed file and back."""
