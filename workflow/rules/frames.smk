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
        mem_mb=memory("kernels", simulated(1)),
        runtime=duration("kernels", simulated(1)),
    params:
        versions=dependencies.versions(),
        model=settings.shape.model,
        demo=demo,
    script:
        "../scripts/kernels.py"


# Images that a rule draws are inputs.  Those of a sheet are there: what they are is a parameter,
# since Snakemake looks through the inputs of this job for each job that depends on it.
checkpoint frames:
    """Register the exposures: identity, time, WCS, calibration, quality, content hash."""
    input:
        images=sorted({entry["file"] for entry in files}) if demo else [],
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
        mem_mb=memory("frames", registration),
        runtime=duration("frames", registration),
    params:
        files=files,
        registered=paths.registered,
        stamps=None if demo else dependencies.stamps(files),
        gain=settings.exposures.gain,
        zero_point=settings.exposures.zero_point,
    script:
        "../scripts/frames.py"
