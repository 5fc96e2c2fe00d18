rule crossmatch:
    """Match catalogue and reference, and list the sources in and around the images."""
    input:
        paths.kernels,
        **plan.catalogues,
        exposures=ancient(exposures_table),
        learning=ancient(learning_table),
    output:
        catalogue_sources=paths.catalogue_sources,
    log:
        paths.log("crossmatch"),
    benchmark:
        paths.benchmark("crossmatch")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("crossmatch"),
        runtime=plan.minutes("crossmatch"),
    params:
        catalogue=section("catalogue", exclude={"path"}),
        reference=section("reference", exclude={"path"}),
        crossmatch=section("crossmatch"),
        field=lambda wildcards: plan.field(),
        content=plan.content("crossmatch"),
    script:
        "../scripts/crossmatch.py"
