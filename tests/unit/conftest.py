"""A machine that several test modules look at."""

import pytest

from machines import Sky, simulated
from romanprf import Machine


@pytest.fixture(scope="session")
def sky() -> Sky:
    """Three frames of forty stars."""
    return simulated(nt=3, side=40, n=40, seed=1)


@pytest.fixture(scope="session")
def built(sky: Sky) -> Machine:
    """The machine of `sky` with a shape model and fluxes; not to be changed by the tests."""
    machine = sky.machine()
    machine.build_shape_model()
    machine.fit_model(compute_model=True)
    return machine
