"""The side of photutils of `accuracy`: fit one frame of an npz file.

python benchmarks/photutils_side.py ARRAYS FLUXES

Runs in an environment with photutils >= 2.  Positions are held and the stars of a
group fitted together: of seven settings tried on one field (groups of 3 to 8 pixels, 3 x 3 or 5 x 5
pixels a star, with or without a local background) this one had the smallest bias.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from astropy.table import Table
from photutils.background import LocalBackground
from photutils.psf import ImagePSF, PSFPhotometry, SourceGrouper

#: Distance within a group, pixels fitted of each star, radii of the ring of its background.
GROUP, SHAPE, RING = 3.0, (3, 3), (3, 8)


def main(path: str, fluxes: str) -> None:
    with np.load(path) as data:
        arrays = dict(data)
    psf = ImagePSF(arrays["prf"], oversampling=int(arrays["oversampling"]))
    psf.x_0.fixed = psf.y_0.fixed = True
    rows, columns = arrays["image"].shape
    x, y = arrays["x"], arrays["y"]
    inside = (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
    start = Table({"x": x[inside], "y": y[inside], "flux": arrays["flux"][inside]})
    fit = PSFPhotometry(
        psf,
        SHAPE,
        grouper=SourceGrouper(GROUP),
        local_bkg_estimator=LocalBackground(*RING),
        group_warning_threshold=1000,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(arrays["image"], error=arrays["error"], mask=arrays["mask"], init_params=start)
    result = np.full((2, x.size), np.nan)
    result[:, inside] = found["flux_fit"], found["flux_err"]
    np.savez(fluxes, flux=result[0], flux_err=result[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
