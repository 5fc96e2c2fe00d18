# The rules that use kernels take this file as a plain input: with `ancient()` Snakemake would drop
# them from the run when the checkpoint ends while this rule is at work.
rule kernels:
    """Compile the Numba kernels once, so that no two jobs write their cache at the same time."""
    output:
        kernels=paths.kernels,
    log:
        paths.log("kernels"),
    benchmark:
        paths.benchmark("kernels")
    conda:
        "../envs/romanprf.yaml"
    threads: 4
    resources:
        mem_mb=plan.memory("kernels"),
        runtime=plan.minutes("kernels"),
    params:
        versions=dependencies.versions(),
        model=settings.shape.model,
        demo=plan.demo,
        approximate=not settings.calibrates,
    script:
        "../scripts/kernels.py"


# Images that a rule draws are inputs.  Those of a sheet are a parameter, because Snakemake looks
# through the inputs of this job for each job that depends on it.
checkpoint frames:
    """List the exposures: identity, time, WCS, calibration, quality, content hash."""
    input:
        images=sorted({entry["file"] for entry in plan.files}) if plan.demo else [],
    output:
        exposures=paths.exposures,
    log:
        paths.log("frames"),
    benchmark:
        paths.benchmark("frames")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("frames"),
        runtime=plan.minutes("frames"),
    params:
        files=plan.files,
        cache=paths.exposures_cache,
        dates=None if plan.demo else dependencies.file_dates(plan.files),
        gain=settings.exposures.gain,
        zero_point=settings.exposures.zero_point,
    script:
        "../scripts/frames.py"
