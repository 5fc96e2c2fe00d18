"""PRF photometry of crowded Roman images: from exposures and a catalogue to light curves."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


# For --software-deployment-method apptainer; built from Apptainer.def.
container: "romanprf.sif"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


if plan.demo:

    include: "workflow/rules/simulate.smk"


include: "workflow/rules/frames.smk"
include: "workflow/rules/choose.smk"
include: "workflow/rules/crossmatch.smk"
include: "workflow/rules/deltas.smk"
include: "workflow/rules/shape.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/astrometry.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/plots.smk"


onstart:
    hold_folder()


rule all:
    """Every table and picture of a reduction."""
    default_target: True
    input:
        [paths.catalogue, paths.truth] if plan.demo else [],
        paths.exposures,
        paths.learning,
        paths.catalogue_sources,
        paths.sources,
        paths.deltas,
        paths.prf,
        each_batch(paths.photometry),
        each_batch(paths.frame_stats),
        paths.astrometry,
        paths.frame_astrometry,
        paths.metrics,
        paths.lightcurves,
        paths.checks,
        pictures.values(),
