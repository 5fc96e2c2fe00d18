rule plots:
    """Draw the pictures of the report."""
    input:
        paths.kernels,
        **({"truth": paths.truth} if plan.demo else {}),
        exposures=ancient(exposures_table),
        catalogue_sources=paths.catalogue_sources,
        sources=paths.sources,
        prf=paths.prf,
        photometry=each_batch(paths.photometry),
        frame_stats=each_batch(paths.frame_stats),
        metrics=paths.metrics,
        lightcurves=paths.lightcurves,
    output:
        prf=report(pictures["prf"], caption="../report/prf.rst", category="1 PRF"),
        image=report(pictures["image"], caption="../report/image.rst", category="2 Images"),
        positions=report(
            pictures["positions"], caption="../report/positions.rst", category="3 Positions"
        ),
        scatter=report(
            pictures["scatter"], caption="../report/scatter.rst", category="4 Photometry"
        ),
        light_curves=report(
            pictures["light_curves"],
            caption="../report/light_curves.rst",
            category="4 Photometry",
        ),
    log:
        paths.log("plots"),
    benchmark:
        paths.benchmark("plots")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("plots"),
        runtime=plan.minutes("plots"),
    params:
        plots=section("plots"),
        flux_cut_off=settings.shape.flux_cut_off,
    script:
        "../scripts/plots.py"
