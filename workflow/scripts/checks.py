from romanprf.workflow.job import main

main("checks.run", snakemake)
