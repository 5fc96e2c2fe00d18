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
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        versions=dependencies.versions(),
    script:
        "../scripts/kernels.py"


checkpoint frames:
    """Register the exposures: identity, time, WCS, calibration, quality, content hash."""
    input:
        images=sorted({entry["file"] for entry in files}),
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
        mem_mb=2000,
        runtime=60,
    params:
        files=files,
        gain=settings.exposures.gain,
        zero_point=settings.exposures.zero_point,
    script:
        "../scripts/frames.py"
