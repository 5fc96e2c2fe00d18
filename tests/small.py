"""Settings of a small demo for the tests that run the workflow."""

#: Few stars and small images: a job costs little more than starting Python.
SMALL = {
    "exposures": {"batch_size": 2},
    "simulate": {
        "size": 64,
        "exposures": 4,
        "draw_limit": 23.0,
        "catalogue_limit": 23.0,
        "position_error": 0.0,
        "microlensing": 1,
        "transits": 1,
        "eclipses": 0,
    },
    "shape": {
        "max_exposures": 3,
        "joint_exposures": 3,
        "n_r_knots": 8,
        "n_phi_knots": 6,
        "rounds": 2,
        "reach": 8.0,
        "search_rounds": 1,
    },
    "metrics": {"subpixels": 2},
}

#: The smallest field with enough bright stars for a fit of the PRF.
TINY = {
    "simulate": {
        "exposures": 1,
        "size": 48,
        "draw_limit": 23.0,
        "catalogue_limit": 20.0,
        "position_error": 0.0,
        "microlensing": 0,
        "transits": 0,
        "eclipses": 0,
    },
    "shape": {
        "n_r_knots": 5,
        "n_phi_knots": 4,
        "iterations": 1,
        "contamination": 0.9,
        "rounds": 1,
        "search_rounds": 1,
        "reach": 9.0,
    },
    "metrics": {"subpixels": 1},
}
