"""Directives that every rule must have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = {
    name: text
    for path in (ROOT / "workflow" / "rules").glob("*.smk")
    for name, text in re.findall(
        r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE
    )
}


@pytest.mark.parametrize("name", sorted(RULES))
def test_rule_is_complete(name):
    text = RULES[name]
    assert text.startswith('    """')
    for directive in ("output", "params", "log", "benchmark", "threads", "resources", "script"):
        assert f"    {directive}:" in text, directive
    assert "mem_mb=" in text
    assert "runtime=" in text
    for wildcard in re.findall(r"wildcards\.(\w+)", text):
        assert f"Wildcards: {wildcard}" in text


def test_each_stage_has_a_rule_a_script_and_a_step():
    for name, text in RULES.items():
        step = "simulate" if name.startswith("simulate") else name
        assert (ROOT / "src" / "romanprf" / "steps" / f"{step}.py").exists()
        script = re.search(r'"\.\./scripts/(\w+\.py)"', text)
        assert (ROOT / "workflow" / "scripts" / script.group(1)).exists()


def test_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 80
