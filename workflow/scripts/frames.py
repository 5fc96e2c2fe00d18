from romanprf.workflow.job import main

main("frames.run", snakemake)
