from romanprf.workflow.job import main

main("choose.run", snakemake)
