from romanprf.workflow.job import main

main("shape.run", snakemake)
