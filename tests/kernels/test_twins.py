import importlib
import inspect
import pkgutil

import naive
import romanprf


def _kernels():
    for module in pkgutil.walk_packages(romanprf.__path__, "romanprf."):
        if module.name.endswith("_nb"):
            for name, kernel in vars(importlib.import_module(module.name)).items():
                function = getattr(kernel, "py_func", kernel)
                if inspect.isfunction(function) and function.__module__ == module.name:
                    yield module.name, name.lstrip("_")


def test_every_kernel_has_a_plain_twin():
    kernels = list(_kernels())
    assert len(kernels) >= 27
    assert [kernel for kernel in kernels if not callable(getattr(naive, kernel[1], None))] == []
