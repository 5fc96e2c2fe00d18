from romanprf.workflow.job import main

main("deltas.run", snakemake)
