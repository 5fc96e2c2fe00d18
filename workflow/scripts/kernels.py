from romanprf.steps import kernels
from romanprf.steps.shim import main

main(kernels.run, snakemake)
