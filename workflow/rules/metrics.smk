rule metrics:
    """Gather the light curves, one row per source, and measure their quality."""
    input:
        paths.kernels,
        exposures=ancient(exposures_table),
        sources=paths.sources,
        prf=paths.prf,
        photometry=each_batch(paths.photometry),
        astrometry=paths.astrometry,
        frame_astrometry=paths.frame_astrometry,
    output:
        metrics=paths.metrics,
        lightcurves=paths.lightcurves,
    log:
        paths.log("metrics"),
    benchmark:
        paths.benchmark("metrics")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("metrics"),
        runtime=plan.minutes("metrics"),
    params:
        metrics=section("metrics"),
        content=plan.content("metrics"),
    script:
        "../scripts/metrics.py"
