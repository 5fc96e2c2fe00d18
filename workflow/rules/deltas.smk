rule deltas:
    """List offsets and fluxes of the pixels around the sources in exposures of the PRF fit."""
    input:
        paths.kernels,
        exposures=ancient(exposures_table),
        learning=ancient(learning_table),
        catalogue_sources=paths.catalogue_sources,
    output:
        deltas=paths.deltas,
    log:
        paths.log("deltas"),
    benchmark:
        paths.benchmark("deltas")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("deltas"),
        runtime=plan.minutes("deltas"),
    params:
        shape=section("shape", include={"max_exposures", "rmin", "cut_r", "rmax", "flux_cut_off"}),
        content=plan.content("deltas"),
    script:
        "../scripts/deltas.py"
