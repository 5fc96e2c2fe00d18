from romanprf.steps import plots
from romanprf.workflow.job import main

main(plots.run, snakemake)
