"""Stars that no catalogue lists."""
