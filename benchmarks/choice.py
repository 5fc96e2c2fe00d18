"""How well chosen exposures fill the pixel and span the time.

python benchmarks/choice.py

Exposures are those that `benchmarks/planning.py` makes up, with random dithers.  Prints one JSON
line per number of exposures: the largest hole (pixels from the nearest chosen phase) and the time
spanned (fraction of all) of the 16 that `choose` takes and of its first 4, of exposures evenly
spaced in time and of those with the lowest numbers; and the seconds that the choice takes.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import planning

from romanprf.sky.choice import choose

SIZES = (17, 64, 640, planning.SEASON)
#: Exposures of the tensor PRF, and those of the log-polar one.
CHOSEN, FIRST = 16, 4


def main() -> None:
    for exposures in SIZES:
        rows = planning.exposure_rows([f"{number}.asdf" for number in range(exposures)])
        start = time.perf_counter()
        chosen = choose(rows, CHOSEN)
        seconds = round(time.perf_counter() - start, 2)
        even = rows.iloc[np.linspace(0, exposures - 1, CHOSEN).astype(int)]
        sets = {"chosen": chosen, "first": chosen.iloc[:FIRST]}
        sets |= {"even": choose(even, CHOSEN), "lowest": choose(rows.iloc[:CHOSEN], CHOSEN)}
        span = np.ptp(rows["time"])
        holes = {f"hole_{name}": round(largest_hole(table), 3) for name, table in sets.items()}
        spans = {f"span_{k}": round(np.ptp(table["time"]) / span, 3) for k, table in sets.items()}
        print(json.dumps({"exposures": exposures, **holes, **spans, "seconds": seconds}))


def largest_hole(table: pd.DataFrame) -> float:
    """Distance of the phase that is furthest from all phases of a ``learning`` table, pixels."""
    grid = np.stack(np.meshgrid(*[np.arange(100) / 100.0] * 2), axis=-1)[:, :, None]
    offset = grid - table[["phase_x", "phase_y"]].to_numpy()
    offset -= np.round(offset)
    return float(np.hypot(offset[..., 0], offset[..., 1]).min(axis=-1).max())


if __name__ == "__main__":
    main()
