"""A frame with its stars, its state and its PRF."""
