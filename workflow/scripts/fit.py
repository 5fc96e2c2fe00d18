from romanprf.workflow.job import main

main("fit.run", snakemake)
