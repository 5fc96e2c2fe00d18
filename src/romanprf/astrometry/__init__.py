"""Where stars are."""
