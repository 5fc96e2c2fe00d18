"""The rule `kernels` compiles what jobs use, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

import listed
from romanprf.core.compile import compile_kernels
from romanprf.steps.kernels import LISTED, needed

pytestmark = pytest.mark.slow


def test_kernels_of_each_model_are_listed(finished, tmp_path):
    """The rule has compiled those of the demo, the others are compiled in a copy."""
    folder = tmp_path / "kernels"
    shutil.copytree(finished.kernels, folder, ignore=shutil.ignore_patterns("romanprf-*"))
    program = "from romanprf.steps import kernels; "
    program += "kernels.compile_kernels(kernels.needed('log-polar', False), 2)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=True)
    assert done.stderr == b""  # no bar in a pipe
    assert json.loads(LISTED.read_text()) == listed.listed(folder)


def test_images_of_a_sheet_need_no_simulation():
    less = set(needed("tensor", demo=True)) - set(needed("tensor", demo=False))
    assert [entry.partition("(")[0] for entry in less] == ["romanprf.simulate.render_nb.add_stars"]


def test_process_that_is_killed_is_noticed(monkeypatch, tmp_path):
    def killed(*args):
        os.kill(os.getpid(), 9)

    monkeypatch.setattr("romanprf.core.compile._work", killed)
    monkeypatch.setattr("romanprf.core.compile._kernels", list)
    with pytest.raises(RuntimeError, match=r"ended with codes \[-9, -9\]"):
        compile_kernels(needed("tensor", demo=False), 2)
