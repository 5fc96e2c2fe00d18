rule simulate_field:
    """Draw the stars of the demo field and write their catalogue."""
    output:
        catalogue=paths.catalogue,
    log:
        paths.log("simulate_field"),
    benchmark:
        paths.benchmark("simulate_field")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("simulate_field"),
        runtime=plan.minutes("simulate_field"),
    params:
        simulate=section("simulate", exclude={"exposures", "format"}),
    script:
        "../scripts/simulate_field.py"


rule simulate_truth:
    """Write the true stars of the demo field, with the light curves of the variables."""
    output:
        truth=paths.truth,
    log:
        paths.log("simulate_truth"),
    benchmark:
        paths.benchmark("simulate_truth")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("simulate_truth"),
        runtime=plan.minutes("simulate_truth"),
    params:
        simulate=section("simulate", exclude={"format"}),
    script:
        "../scripts/simulate_field.py"


rule simulate_exposure:
    """Draw one exposure of the demo field.

    Wildcards: exposure, its number in five digits.
    """
    input:
        paths.kernels,
    output:
        frame=paths.frames,
    log:
        paths.log("simulate_exposure.{exposure}"),
    benchmark:
        paths.benchmark("simulate_exposure.{exposure}")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("simulate_exposure"),
        runtime=plan.minutes("simulate_exposure"),
    params:
        simulate=section("simulate", exclude={"exposures", "format"}),
        exposure=lambda wildcards: int(wildcards.exposure),
    script:
        "../scripts/simulate_exposure.py"


rule simulate_cube:
    """Draw all exposures of the demo field into one cube."""
    input:
        paths.kernels,
    output:
        cube=paths.cube,
    log:
        paths.log("simulate_cube"),
    benchmark:
        paths.benchmark("simulate_cube")
    conda:
        "../envs/romanprf.yaml"
    threads: 1
    resources:
        mem_mb=plan.memory("simulate_cube"),
        runtime=plan.minutes("simulate_cube"),
    params:
        simulate=section("simulate", exclude={"format"}),
    script:
        "../scripts/simulate_cube.py"
