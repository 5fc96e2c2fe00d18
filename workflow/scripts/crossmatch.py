from romanprf.workflow.job import main

main("crossmatch.run", snakemake)
