#!/usr/bin/env bash
# Runs in the new environment, in the folder in which snakemake was called: that of this project.
set -euo pipefail
python -m pip install --constraint constraints.txt .
