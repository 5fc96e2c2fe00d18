rule shape:
    """Fit the PRF and find the stars that the catalogue lacks."""
    input:
        paths.kernels,
        exposures=ancient(registered),
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
        mem_mb=largest(
            memory("shape", part_of(joint_exposures, PATCH_PIXELS)),
            memory("search", size_of(joint_exposures)),
        ),
        runtime=total(
            duration("shape", part_of(joint_exposures, PATCH_PIXELS)),
            duration("search", size_of(joint_exposures)),
        ),
    params:
        shape=section("shape"),
        crossmatch=section(
            "crossmatch",
            include={"saturation_magnitude", "contaminant_radius", "contaminant_contrast"},
        ),
        exposures=numbers(joint_exposures),
        content=content(joint_exposures),
    script:
        "../scripts/shape.py"
