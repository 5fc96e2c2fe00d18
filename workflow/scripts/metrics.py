from romanprf.steps import metrics
from romanprf.steps.shim import main

main(metrics.run, snakemake)
