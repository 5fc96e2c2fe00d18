rule checks:
    """Check the results: what the tables show when something is wrong."""
    input:
        catalogue_sources=paths.catalogue_sources,
        sources=paths.sources,
        prf=paths.prf,
        photometry=each_batch(paths.photometry),
        frame_stats=each_batch(paths.frame_stats),
        metrics=paths.metrics,
    output:
        checks=paths.checks,
        page=report(paths.checks_page, caption="../report/checks.rst", category="0 Checks"),
    log:
        paths.log("checks"),
    benchmark:
        paths.benchmark("checks")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("checks"),
        runtime=plan.minutes("checks"),
    params:
        # A check is code without a setting: other limits come with another version.
        version=dependencies.versions()[0],
    script:
        "../scripts/checks.py"
