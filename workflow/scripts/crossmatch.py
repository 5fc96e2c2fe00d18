from romanprf.steps import crossmatch
from romanprf.steps.shim import main

main(crossmatch.run, snakemake)
