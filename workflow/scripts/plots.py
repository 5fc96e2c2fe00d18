from romanprf.steps import plots
from romanprf.steps.shim import main

main(plots.run, snakemake)
