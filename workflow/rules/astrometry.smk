rule astrometry:
    """Solve the motions of the stars and the geometry of the frames from all centroids."""
    input:
        paths.kernels,
        exposures=ancient(exposures_table),
        catalogue_sources=paths.catalogue_sources,
        sources=paths.sources,
        photometry=each_batch(paths.photometry),
    output:
        astrometry=paths.astrometry,
        frame_astrometry=paths.frame_astrometry,
    log:
        paths.log("astrometry"),
    benchmark:
        paths.benchmark("astrometry")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("astrometry"),
        runtime=plan.minutes("astrometry"),
    params:
        crossmatch=section("crossmatch", include={"parallax_error", "proper_motion_error"}),
        content=plan.content("astrometry"),
    script:
        "../scripts/astrometry.py"
