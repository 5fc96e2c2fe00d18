"""Pictures of the report: each function takes numbers and returns a Matplotlib figure."""
