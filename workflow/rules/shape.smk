rule shape:
    """Fit the PRF."""
    input:
        paths.kernels,
        ancient(images(joint_exposures)),
        exposures=ancient(registered),
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
        exposures=numbers(joint_exposures),
        content=content(joint_exposures),
    script:
        "../scripts/shape.py"
