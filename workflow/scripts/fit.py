from romanprf.steps import fit
from romanprf.steps.shim import main

main(fit.run, snakemake)
