# The table is kept when exposures are added: their table is `ancient()`, and no parameter depends
# on it.
checkpoint choose:
    """Choose the exposures that the PRF is learned from, spread over time and dither."""
    input:
        exposures=ancient(exposures_table),
    output:
        learning=paths.learning,
    log:
        paths.log("choose"),
    benchmark:
        paths.benchmark("choose")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("choose"),
        runtime=plan.minutes("choose"),
    params:
        shape=section("shape", include={"max_exposures", "joint_exposures"}),
    script:
        "../scripts/choose.py"
