from romanprf.workflow.job import main

main("plots.run", snakemake)
