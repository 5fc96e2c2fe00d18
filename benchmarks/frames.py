"""Time to list a season of full images, and to read one.

python benchmarks/frames.py FILE [--exposures 1000]

FILE is an official Level 2 image of any size, whose metadata and WCS the benchmark's images take;
their pixels are drawn from its own.  Prints one JSON line per case: an uncompressed file, one
compressed by lz4 (what `roman_datamodels` writes) and a RImTimSim frame, each under as many names
as there are exposures.  Files are in the page cache; the disk comes on top.

keys: `exposures`; `first_s`, `again_s` and `one_more_s`, core-seconds of the `frames` step for
the first time, again and with one more image; `read_s`, core-seconds of
`read_image`, median of five; `file_mb`; `image_mb`, size of the image in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asdf
import numpy as np
from astropy.io import fits

from romanprf.io.exposures import read_exposures
from romanprf.io.images import read_image
from romanprf.simulate import wfi
from romanprf.steps import frames

SIZE = 4088


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--exposures", type=int, default=1000)
    args = parser.parse_args()
    cases: dict[str, Callable[[Path], None]] = {
        "roman_l2": lambda path: write_l2(args.file, path, None),
        "roman_l2 lz4": lambda path: write_l2(args.file, path, "lz4"),
        "rimtimsim": write_frame,
    }
    for name, write in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "image"
            write(image)
            print(json.dumps({"case": name, **measured(image, args.exposures)}), flush=True)


def measured(image: Path, exposures: int) -> dict[str, Any]:
    """Core-seconds of the step on ``exposures`` names of one file."""
    files = []
    for number in range(exposures):
        link = image.with_name(f"{number:05d}")
        link.symlink_to(image)
        files.append({"file": str(link), "exposure": number})
    cache = image.with_name("exposures_cache.parquet")
    outputs = {"exposures": image.with_name("exposures.parquet")}

    def listed(entries: list[dict]) -> float:
        params = {"files": entries, "gain": 2.0, "zero_point": wfi.ZERO_POINT}
        params["cache"] = cache
        return core_seconds(lambda: frames.run({}, outputs, params))

    listed(files[:1])  # imports
    cache.unlink()
    times = {
        "first_s": listed(files[:-1]),
        "again_s": listed(files[:-1]),
        "one_more_s": listed(files),
    }
    row = read_exposures(outputs["exposures"]).iloc[0].to_dict()
    pixels = read_image(row)
    arrays = (pixels.flux, pixels.flux_err, pixels.flags)
    return {
        "exposures": exposures,
        **{key: round(value, 2) for key, value in times.items()},
        "read_s": round(
            float(np.median([core_seconds(lambda: read_image(row)) for _ in "12345"])), 3
        ),
        "file_mb": round(image.stat().st_size / 1e6),
        "image_mb": round(sum(array.nbytes for array in arrays) / 1e6),
    }


def core_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def write_l2(example: Path, path: Path, compression: str | None) -> None:
    """The example with images of a whole detector."""
    random = np.random.default_rng(1)
    with asdf.open(example, lazy_tree=False) as file:
        roman = file["roman"]
        shape = roman["data"].shape
        chosen = random.integers(0, roman["data"].size, (SIZE, SIZE), dtype=np.int32)
        for name in [key for key in roman if np.shape(roman[key]) == shape]:
            roman[name] = np.asarray(roman[name]).ravel()[chosen]
        asdf.AsdfFile({"roman": roman}).write_to(path, all_array_compression=compression)


def write_frame(path: Path) -> None:
    """A frame without stars."""
    random = np.random.default_rng(1)
    flux = random.normal(5.0, 1.0, (SIZE, SIZE)).astype(np.float32)
    scale = wfi.PIXEL_SCALE / 3600.0
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=268.0, CRVAL2=-29.2)
    header.update(CRPIX1=SIZE / 2, CRPIX2=SIZE / 2, CDELT1=-scale, CDELT2=scale)
    header.update(EXP_NO=1, TSTART=2461450.0, TEND=2461450.001, EXPOSURE=66.4)
    header.update(FILTER="F146", DETECTOR="SCA02")
    hdus = [fits.PrimaryHDU(flux, header), fits.ImageHDU(np.sqrt(np.abs(flux) + 1.0))]
    fits.HDUList(hdus).writeto(path)


if __name__ == "__main__":
    main()
