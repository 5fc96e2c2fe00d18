# `registered` is not read: a job that depends on the checkpoint is judged again once that has run.
rule shape:
    """Fit the PRF."""
    input:
        paths.kernels,
        ancient(registered),
        deltas=paths.deltas,
        sources=paths.sources,
    output:
        prf=paths.prf,
    log:
        paths.log("shape"),
    benchmark:
        paths.benchmark("shape")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        shape=section("shape"),
    script:
        "../scripts/shape.py"
