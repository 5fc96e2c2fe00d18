rule crossmatch:
    """Catalogue, reference and footprint of the images make one list of sources."""
    input:
        ancient(registered),
        **catalogues,
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
        mem_mb=4000,
        runtime=30,
    params:
        catalogue=section("catalogue", exclude={"path"}),
        reference=section("reference", exclude={"path"}),
        crossmatch=section("crossmatch"),
        field=lambda wildcards: field(exposures(wildcards)),
    script:
        "../scripts/crossmatch.py"
