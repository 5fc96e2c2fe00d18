rule deltas:
    """Offsets and fluxes of the pixels around the sources, in the exposures of the PRF fit."""
    input:
        paths.kernels,
        exposures=ancient(registered),
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
        mem_mb=memory("deltas", part_of(shape_exposures, LOGPOLAR_SIDE**2)),
        runtime=duration("deltas", part_of(shape_exposures, LOGPOLAR_SIDE**2)),
    params:
        shape=section("shape", include={"rmin", "cut_r", "rmax", "flux_cut_off"}),
        exposures=numbers(shape_exposures),
        content=content(shape_exposures),
    script:
        "../scripts/deltas.py"
