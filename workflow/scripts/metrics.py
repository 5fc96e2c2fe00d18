from romanprf.steps import metrics
from romanprf.workflow.job import main

main(metrics.run, snakemake)
