"""What the images teach: the PRF."""
