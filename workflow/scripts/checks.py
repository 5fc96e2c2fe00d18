from romanprf.steps import checks
from romanprf.workflow.job import main

main(checks.run, snakemake)
