"""Snakemake that asks SLURM every two seconds.

The plugin waits ten seconds longer after each look at which no job had ended, up to three minutes,
and no option changes that: it would be most of the time of a test.
"""

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, _: None)

if __name__ == "__main__":
    main()
