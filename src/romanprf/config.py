"""Every setting of the workflow: a frozen model, which the YAML file and its schema are made from.

``python -m romanprf.config yaml`` prints ``config/config.yaml`` and ``python -m romanprf.config
schema`` prints ``config/schema.json``; a test keeps the files equal to what is printed.
"""

from __future__ import annotations

import difflib
import itertools
import json
import reprlib
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from romanprf.errors import InputError


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false, which count as 1 and 0, where a number is expected."""
        field = cls.model_fields[str(info.field_name)]
        values = value if isinstance(value, (list, tuple)) else [value]
        if field.annotation is not bool and any(isinstance(one, bool) for one in values):
            raise ValueError("expected no true or false")
        return value


class Exposures(_Section):
    """The images."""

    sheet: Path | None = Field(
        None,
        description="Tab-separated list of image files or globs (see config/exposures.tsv); "
        "null simulates the demo field and reduces that.",
    )
    gain: float | None = Field(
        None, gt=0, le=1e6, description="Electrons per DN, for files in DN/s that do not state it."
    )
    zero_point: float | None = Field(
        None,
        gt=15,
        lt=40,
        description="AB magnitude of 1 e-/s, for files that do not state it.",
    )
    batch_size: int = Field(
        4,
        ge=1,
        le=100_000,
        description="Exposures per fit job: exposure n belongs to batch n // batch_size. "
        "64 suits a survey; 4 keeps two cores busy on the demo.",
    )


def _plain_name(value: Any) -> Any:
    """A file name that Snakemake takes as it is."""
    if not str(value).isprintable() or set(str(value)) & set("{}<>"):
        raise ValueError("expected a name without {}<> and control characters")
    return value


class _Table(_Section):
    """A table of stars."""

    path: Path | None = None
    frame: Literal["icrs", "fk5"] = Field("icrs", description="Frame of ra and dec.")
    epoch: float | None = Field(
        None,
        gt=1900,
        lt=2200,
        description="Julian year of the positions, where the file has no column ref_epoch or "
        "epoch; null: that of the first exposure, for stars without proper motions.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our name -> the file's name, for any of source_id, ra, dec, mag, flux_njy, "
        "epoch, parallax, pmra, pmdec, their errors (ra_err ...) and correlations (ra_dec_corr "
        "...), mag_err. The names of TRExS, Roman, Gaia, VIRAC2 and 2MASS are built in.",
    )

    @field_validator("path", mode="before")
    @classmethod
    def _name_of_a_file(cls, value: Any) -> Any:
        return _plain_name(value) if isinstance(value, (str, Path)) else value


class Catalogue(_Table):
    """The stars whose fluxes are wanted."""

    path: Path | None = Field(
        None,
        description="Parquet, ECSV, CSV or FITS table; null: the stars that the images show, with "
        "measured fluxes.",
    )
    photometry: Literal["calibrates", "approximate"] = Field(
        "calibrates",
        description="calibrates: the magnitudes are AB magnitudes in the filter of the images and "
        "set the scale of all fluxes. approximate: they are of another filter or missing; fluxes "
        "are measured, with the zero point of the images and a PRF whose integral is 1.",
    )

    @property
    def calibrates(self) -> bool:
        """Whether the magnitudes set the scale of the fluxes."""
        return self.photometry == "calibrates"


class Reference(_Table):
    """A Gaia-like catalogue that fixes the astrometric frame and gives proper motions."""

    path: Path | None = Field(None, description="As catalogue.path; null: no reference.")


class Crossmatch(_Section):
    """From two catalogues to one list of sources."""

    margin: float = Field(
        12.0,
        ge=0,
        le=100,
        description="Keep sources up to this far outside the images (pixels); bright ones, whose "
        "wings reach inside, up to 100.",
    )
    match_radius: float = Field(
        0.25, gt=0, le=60, description="Largest separation of candidate matches (arcsec)."
    )
    match_sigma: float = Field(
        5.0,
        gt=0,
        le=1000,
        description="Largest distance of a match, in sigmas of position and magnitude.",
    )
    position_error: float = Field(
        0.02,
        ge=1e-6,
        le=60,
        description="1 sigma per axis of a position where a catalogue gives none (arcsec).",
    )
    proper_motion_error: float = Field(
        4.0,
        ge=1e-6,
        le=1e5,
        description="1 sigma per axis of a proper motion where a catalogue gives none (mas/yr), "
        "around 0; bulge stars have 3 to 4.",
    )
    parallax_error: float = Field(
        2.0,
        ge=1e-6,
        le=1e4,
        description="1 sigma of a parallax where a catalogue gives none (mas), around 0.",
    )
    magnitude_error: float = Field(
        0.3,
        gt=0,
        le=10,
        description="1 sigma of the difference of the magnitudes of a match that is due to its "
        "colour (mag), added in quadrature to the errors of the catalogues.",
    )
    blend_limit: float = Field(
        0.03,
        ge=0,
        le=60,
        description="Sources closer than this (arcsec) are merged; the brightest keeps its id.",
    )
    saturation_magnitude: float = Field(
        15.5, ge=-10, le=40, description="Brighter sources are flagged SATURATED (AB mag)."
    )
    contaminant_radius: float = Field(
        0.22,
        ge=0,
        le=60,
        description="Flag a source CONTAMINANT if a much brighter one is this close (arcsec).",
    )
    contaminant_contrast: float = Field(
        2.0, gt=0, le=40, description="By how much that source has to be brighter (mag)."
    )


class Shape(_Section):
    """The PRF, learned from the images."""

    model: Literal["tensor", "log-polar"] = Field(
        "tensor",
        description="tensor: splines on the detector's axes, fitted to all pixels of many "
        "exposures at once, starting from the log-polar model. log-polar: that alone, for "
        "well-sampled pixels.",
    )
    max_exposures: int = Field(
        4,
        ge=1,
        le=1000,
        description="Fit the log-polar PRF to this many usable exposures, the first of those "
        "chosen for the tensor PRF.",
    )
    joint_exposures: int = Field(
        16,
        ge=1,
        le=1000,
        description="Fit the tensor PRF to this many usable exposures, spread over time and "
        "dither. The choice is kept when exposures are added; snakemake --forcerun choose makes "
        "it anew.",
    )
    rounds: int = Field(
        8,
        ge=1,
        le=20,
        description="Largest number of rounds of the tensor fit: shifts, fluxes, then the PRF.",
    )
    nodes: int | None = Field(
        None,
        ge=1,
        le=5,
        description="Nodes per axis of a PRF that changes over the images; null: 3 on images of "
        "at least 2000 pixels a side, 1 on smaller ones.",
    )
    search_rounds: int | None = Field(
        None,
        ge=0,
        le=10,
        description="Largest number of searches for uncatalogued stars, with the tensor PRF; 0: "
        "none; null: 3, without a catalogue 8.",
    )
    search_threshold: float = Field(
        5.0,
        ge=3,
        le=1000,
        description="Least significance of a star that the search adds (sigma, all exposures of "
        "the fit together).",
    )
    reach: float = Field(
        100.0, ge=5, le=120, description="The tensor PRF ends here (pixels along each axis)."
    )
    n_r_knots: int = Field(28, ge=5, le=60, description="Radial knots, uniform in sqrt(r).")
    n_phi_knots: int = Field(24, ge=4, le=60, description="Angular knots, wrapped.")
    rmin: float = Field(
        0.01,
        ge=0,
        lt=100,
        description="First radial knot (arcsec); knots continue at the same step to the centre.",
    )
    rmax: float = Field(2.2, gt=0, le=100, description="The log-polar model ends here (arcsec).")
    cut_r: float = Field(
        0.05,
        ge=0,
        lt=100,
        description="Radial functions that end inside this (arcsec) do not depend on the angle.",
    )
    flux_cut_off: float = Field(
        0.05,
        ge=1e-3,
        le=1e6,
        description="A footprint ends where the source's own flux per pixel falls under this "
        "(e-/s).",
    )
    source_flux_limit: float = Field(
        300.0,
        gt=0,
        le=1e9,
        description="Fit the PRF to sources brighter than this (e-/s).",
    )
    contamination: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Fit the log-polar PRF to pixels in which all other sources give less than "
        "this fraction of the source's own light.",
    )
    iterations: int = Field(
        4,
        ge=1,
        le=20,
        description="Iterations of the log-polar fit: mask, subtract neighbours, fit.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Shape:
        if not self.rmin < self.cut_r < self.rmax:
            raise ValueError(
                f"expected rmin < cut_r < rmax, got {self.rmin}, {self.cut_r}, {self.rmax}"
            )
        return self


class Fit(_Section):
    """The joint fit of all fluxes of a frame."""

    prior_width: float = Field(
        20.0,
        ge=1e-3,
        le=1e6,
        description="Prior sigma of each flux around its catalogue value, in sqrt(flux) "
        "(e-/s): sigma = prior_width * sqrt(max(flux, 1)).",
    )
    tolerance: float = Field(
        1e-10,
        ge=1e-13,
        lt=0.1,
        description="Stop when no flux moves by more than this fraction of its error.",
    )
    reweight: int = Field(
        2,
        ge=0,
        le=5,
        description="Repeats of the fit, with the photon noise of the fitted model and without "
        "outliers.",
    )
    clip: float = Field(
        6.0,
        gt=3,
        le=1e6,
        description="Between the repeats, mask pixels with residuals above this many sigma of "
        "noise and error of the PRF: cosmic rays.",
    )
    background_nodes: int | None = Field(
        None,
        ge=1,
        le=16,
        description="Spline functions per axis of the background of each exposure, which is solved "
        "with the fluxes; 1: constant, 2: tilted; null: as many of 1, 2, 4, 8 and 16 as the images "
        "need.",
    )
    register_frames: bool = Field(
        True,
        description="Measure the shift of each exposure: its WCS is not exact to 0.002 pixel.",
    )


class Metrics(_Section):
    """Statistics of the results."""

    subpixels: int = Field(
        5, ge=1, le=20, description="Sub-pixel grid per axis for image_fraction."
    )


class Plots(_Section):
    """Pictures of the report."""

    light_curves: int = Field(6, ge=1, le=24, description="Light curves to show.")
    dpi: int = Field(130, ge=50, le=600, description="Resolution of the pictures.")


#: Most pixels of all simulated images: 160 GB on disk, or 16 GB of memory for a cube.
_MOST_PIXELS = {"frames": 2e10, "cube": 1e9}


class Simulate(_Section):
    """The demo field, drawn with GalSim's Roman PRF."""

    seed: int = Field(20270305, ge=0, lt=2**63, description="Seed of all random numbers.")
    exposures: int = Field(16, ge=1, le=10000, description="Number of exposures.")
    size: int = Field(128, ge=32, le=4088, description="Pixels per side.")
    sca: int = Field(2, ge=1, le=18, description="Detector (WFI01 to WFI18), sets the PRF.")
    prf_span: float = Field(
        0.0,
        ge=0,
        le=4088,
        description="The PRF changes across the image as it does across this many pixels of the "
        "detector: 4088 shows a whole detector on a small field; 0: the PRF of its centre.",
    )
    ra: float = Field(268.0, ge=0, lt=360, description="Field centre (degrees ICRS).")
    dec: float = Field(-29.2, ge=-90, le=90, description="Field centre (degrees ICRS).")
    density: float = Field(
        1.0, gt=0, le=10, description="Stars relative to the bulge survey's fields."
    )
    bright_limit: float = Field(
        14.0,
        ge=8,
        le=14,
        description="Brightest star in the images (AB mag); the bulge has thousands brighter than "
        "14 on a detector, whose wings rule their surroundings.",
    )
    draw_limit: float = Field(
        25.0, ge=15, le=28, description="Faintest star in the images (AB mag)."
    )
    catalogue_limit: float = Field(
        25.0, ge=0, le=40, description="Faintest star in the catalogue (AB mag)."
    )
    position_error: float = Field(
        10.0, ge=0, le=1e4, description="1 sigma per axis of the catalogue's positions (mas)."
    )
    proper_motion: float = Field(
        0.0,
        ge=0,
        le=1e4,
        description="1 sigma per axis of the stars' proper motions (mas/yr), which the catalogue "
        "does not list; bulge stars have 3 to 4.",
    )
    parallaxes: tuple[float, float] | None = Field(
        None,
        description="Range of the parallaxes (mas) of one star in 20, which the catalogue does "
        "not list; null: no star has one.",
    )
    cadence: float = Field(
        12.1, gt=0, le=1e7, description="Time from one exposure to the next (minutes)."
    )
    dither: float = Field(3.0, ge=0, le=50, description="Largest dither per axis (pixels).")
    microlensing: int = Field(3, ge=0, le=10_000, description="Stars with a microlensing event.")
    transits: int = Field(3, ge=0, le=10_000, description="Stars with a transiting planet.")
    eclipses: int = Field(3, ge=0, le=10_000, description="Eclipsing binaries.")
    cosmic_rays: float = Field(
        0.0002, ge=0, lt=0.1, description="Fraction of pixels hit per exposure, not removed."
    )
    bad_pixels: float = Field(0.001, ge=0, lt=0.5, description="Fraction of dead pixels.")
    format: Literal["frames", "cube"] = Field(
        "frames", description="One FITS file per exposure, or one ASDF cube."
    )

    @model_validator(mode="after")
    def _together(self) -> Simulate:
        if self.parallaxes and not 0.0 <= self.parallaxes[0] <= self.parallaxes[1] <= 1000.0:
            raise ValueError("parallaxes: expected 0 <= low <= high <= 1000")
        pixels, most = self.size**2 * self.exposures, _MOST_PIXELS[self.format]
        if pixels > most:
            raise ValueError(
                f"simulate.size, simulate.exposures: {pixels:.1e} pixels, expected at most "
                f"{most:.0e} of simulate.format {self.format!r}"
            )
        return self


class Config(_Section):
    """Settings of a reduction."""

    results: Path = Field(
        Path("results"),
        description="Folder of everything that is written. Names of folders and catalogues have "
        "no {}<>, which stand for parts of names in the workflow.",
    )
    exposures: Exposures = Exposures()
    catalogue: Catalogue = Catalogue()
    reference: Reference = Reference()
    crossmatch: Crossmatch = Crossmatch()
    shape: Shape = Shape()
    fit: Fit = Fit()
    metrics: Metrics = Metrics()
    plots: Plots = Plots()
    simulate: Simulate = Simulate()

    @field_validator("results", mode="before")
    @classmethod
    def _name_of_a_folder(cls, value: Any) -> Any:
        if not isinstance(value, (str, Path)) or not str(value).strip():
            raise ValueError("expected the name of a folder")
        return _plain_name(value)

    @model_validator(mode="after")
    def _images_and_catalogue(self) -> Config:
        if self.demo and self.catalogue.path is not None:
            raise ValueError("catalogue.path: expected none without exposures.sheet (the demo)")
        if not self.demo and self.catalogue.path is None:
            for name in ("columns", "epoch", "frame"):
                value = getattr(self.catalogue, name)
                if value != Catalogue.model_fields[name].get_default(call_default_factory=True):
                    raise ValueError(
                        f"catalogue.{name}: expected none without catalogue.path, got {value!r}"
                    )
        return self

    @property
    def demo(self) -> bool:
        """Whether the images and their catalogue are simulated."""
        return self.exposures.sheet is None

    @property
    def calibrates(self) -> bool:
        """Whether there are magnitudes that set the scale of the fluxes."""
        return self.catalogue.calibrates and (self.demo or self.catalogue.path is not None)


#: Problems that one message names, at most, and how it shows values.
_MOST_PROBLEMS = 10
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80

#: Values in a file of settings, at most: aliases of YAML could make it stand for any number.
_MOST_VALUES = 10_000


class _Loader(yaml.SafeLoader):
    """YAML in which no key may be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        given = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = [key for key, count in given.items() if count > 1]
        if repeated:
            line = node.start_mark.line + 1
            raise InputError(f"key {repeated[0]!r} is given twice below line {line}, expected once")
        return super().construct_mapping(node, deep)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read a file of settings, without checking what they are.

    Raises
    ------
    InputError
        If it is missing or not what YAML calls a mapping, or gives a key twice.
    """
    try:
        settings = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected settings in YAML") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, expected settings in YAML") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: values are nested too deeply, expected two levels") from None
    except (yaml.YAMLError, ValueError) as error:  # not UTF-8, or numbers of too many digits
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected settings as 'key: value' lines")
    if len(list(itertools.islice(_values(settings), _MOST_VALUES + 1))) > _MOST_VALUES:
        raise InputError(f"{path}: expected at most {_MOST_VALUES} values, found more")
    return settings


def _values(settings: Any) -> Iterator[Any]:
    """All values of nested collections, which may hold themselves."""
    left = [settings]
    while left:
        value = left.pop()
        yield value
        if isinstance(value, (dict, list, set, tuple)):
            left += value.values() if isinstance(value, dict) else value


def load_config(values: Mapping[str, Any]) -> Config:
    """Check settings, as read from YAML.

    Raises
    ------
    InputError
        One line: every offending key, what was given and what is expected.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors()[:_MOST_PROBLEMS])
        raise InputError(f"config: {problems}") from None


def _explain(problem: Any) -> str:
    path = [str(part)[:80] for part in problem["loc"]]
    key = ".".join(path) or "whole file"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys(path[:-1]), n=1)
        hint = f", did you mean {near[0]!r}?" if near else f", expected one of {_keys(path[:-1])}"
        return f"unknown key {key!r}{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if key == "whole file":
        return message
    return f"{key}: {message[0].lower()}{message[1:]}, got {_short(problem['input'])}"


def _short(value: Any) -> str:
    """A value as a message shows it."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"


def _keys(path: list[str]) -> list[str]:
    model: type[BaseModel] = Config
    for name in path:
        model = model.model_fields[name].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def _comment(text: str, indent: str = "") -> Iterator[str]:
    yield from (f"{indent}# {line}" for line in textwrap.wrap(text, 96 - len(indent)))


def to_yaml(config: Config | None = None) -> str:
    """The settings as commented YAML."""
    config = config or Config()
    lines = ["# Settings of romanprf: every key with its default. Paths are relative to the folder"]
    lines += ["# in which snakemake runs. A key that is left out has the value shown here."]
    for name, field in Config.model_fields.items():
        value = getattr(config, name)
        lines.append("")
        if not isinstance(value, BaseModel):
            lines += [*_comment(field.description or ""), f"{name}: {_scalar(value)}"]
            continue
        lines += [*_comment(type(value).__doc__ or ""), f"{name}:"]
        for key, entry in type(value).model_fields.items():
            lines += _comment(entry.description or "", "  ")
            lines.append(f"  {key}: {_scalar(getattr(value, key))}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def to_schema() -> str:
    """The settings as JSON schema."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write({"yaml": to_yaml, "schema": to_schema}[sys.argv[1]]())
