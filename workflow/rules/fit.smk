rule fit:
    """Measure the fluxes of all sources in the exposures of one batch.

    Wildcards: batch, the exposure number divided by exposures.batch_size, in at least five digits.
    """
    input:
        paths.kernels,
        exposures=ancient(exposures_table),
        sources=paths.sources,
        prf=paths.prf,
    output:
        photometry=paths.photometry,
        frame_stats=paths.frame_stats,
    log:
        paths.log("fit.{batch}"),
    benchmark:
        paths.benchmark("fit.{batch}")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("fit"),
        runtime=plan.minutes("fit"),
    params:
        fit=section("fit"),
        flux_cut_off=settings.shape.flux_cut_off,
        exposures=plan.numbers("fit"),
        content=plan.content("fit"),
    script:
        "../scripts/fit.py"
