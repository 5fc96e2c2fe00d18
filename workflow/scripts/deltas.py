from romanprf.steps import deltas
from romanprf.steps.shim import main

main(deltas.run, snakemake)
