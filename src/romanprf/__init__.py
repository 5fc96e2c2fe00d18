"""PRF photometry of crowded Roman Space Telescope images."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from romanprf.machine import Machine

__all__ = ["Machine", "__version__"]
__version__ = version("romanprf")


def __getattr__(name: str) -> Any:
    # The steps of the workflow start faster without the class.
    if name == "Machine":
        from romanprf.machine import Machine  # noqa: PLC0415

        return Machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
