"""Support of the Snakemake files: paths, dependencies, the plan, resources, jobs."""
