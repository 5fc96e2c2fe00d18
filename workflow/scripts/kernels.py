from romanprf.workflow.job import main

main("kernels.run", snakemake)
