"""Where stars are and how they move."""
