from romanprf.workflow.job import main

main("astrometry.run", snakemake)
