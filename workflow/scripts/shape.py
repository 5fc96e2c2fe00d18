from romanprf.steps import shape
from romanprf.steps.shim import main

main(shape.run, snakemake)
