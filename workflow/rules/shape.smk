rule shape:
    """Fit the PRF and search for stars that the catalogue lacks."""
    input:
        paths.kernels,
        exposures=ancient(exposures_table),
        learning=ancient(learning_table),
        deltas=paths.deltas,
        catalogue_sources=paths.catalogue_sources,
    output:
        prf=paths.prf,
        sources=paths.sources,
    log:
        paths.log("shape"),
    benchmark:
        paths.benchmark("shape")
    conda:
        "../envs/romanprf.yaml"
    threads: 4
    resources:
        mem_mb=plan.memory("shape"),
        runtime=plan.minutes("shape"),
    params:
        shape=section("shape"),
        fit=section("fit", include={"background_nodes"}),
        catalogue=section("catalogue", include={"photometry"}),
        crossmatch=section(
            "crossmatch",
            include={"saturation_magnitude", "contaminant_radius", "contaminant_contrast"},
        ),
        content=plan.content("shape"),
    script:
        "../scripts/shape.py"
