"""What the Snakemake files need: paths, dependencies, resources, jobs."""
