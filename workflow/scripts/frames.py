from romanprf.steps import frames
from romanprf.steps.shim import main

main(frames.run, snakemake)
