from romanprf.steps import simulate
from romanprf.steps.shim import main

main(simulate.run_field, snakemake)
