from romanprf.steps import crossmatch
from romanprf.workflow.job import main

main(crossmatch.run, snakemake)
