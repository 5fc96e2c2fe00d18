from romanprf.workflow.job import main

main("simulate.run_cube", snakemake)
