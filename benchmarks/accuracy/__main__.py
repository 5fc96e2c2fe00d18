"""Light curves against the photon limit, on simulated fields and on folders with their own truth.

python benchmarks/accuracy [--cases "cut at 23" ...] [--size 192] [--exposures 16] [--seeds 1]
    [--seed 31469] [--rimtimsim FOLDER] [--roman-l2 FOLDER] [--peers PYTHON] [--photutils PYTHON]
    [--figures docs/images] [--model log-polar] [--results results/accuracy]

Draws the fields, runs the whole workflow on each and prints what docs/explanation/accuracy.md
explains: light curves by magnitude, also relative to the same field with an exact catalogue,
positions, motions and centroids, stars found, the error of the PRF, linearity, events, close pairs
and convergence.  A case brings the one with an exact catalogue along.  PYTHON is that of an
environment with roman-lcs or photutils, which then take part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from cases import CASES, Reduction, rimtimsim, roman_l2, simulated
from events import event_rows, pair_rows
from figures import write
from found import Search, found_rows, search
from peers import PeerError, photutils, roman_lcs
from positions import Offsets, astrometry, offset_rows
from table import Curves, convergence, curves, linearity, rows
from truth import prf_error

#: Other programs take part here: their catalogues cannot be deeper.
PEER_CASE = "cut at 23"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--size", type=int, default=192, help="pixels per side")
    parser.add_argument("--exposures", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1, help="fields of each case, pooled")
    parser.add_argument(
        "--seed", type=int, help="of the first field of all cases; default: that of each case"
    )
    parser.add_argument("--model", help="shape.model; default: that of the workflow")
    parser.add_argument("--results", type=Path, default=Path("results/accuracy"))
    parser.add_argument("--rimtimsim", type=Path, metavar="FOLDER")
    parser.add_argument("--roman-l2", type=Path, metavar="FOLDER")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="has roman-lcs")
    parser.add_argument("--photutils", type=Path, metavar="PYTHON", help="has photutils")
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    args = parser.parse_args()

    columns = "case", "F146", "stars", "scatter / limit", "bias", "pull width", "pull"
    heading("Light curves", *columns)
    told: dict[str, tuple[list[Reduction], Curves]] = {}
    for name, parts in reductions(args):
        told[name] = parts, Curves.pooled([curves(part.paths, part.truth) for part in parts])
        print_rows(name, rows(told[name][1]))
    compared = peers(args, told)
    ratios(told)
    astrometric(told)
    searches(told)
    details(told)
    if args.figures:
        own = {name: curve for name, (_, curve) in told.items()}
        first = next(iter(told.values()))[0][0]
        write(args.figures, own, compared, first.paths, first.truth)


def heading(title: str, *columns: str) -> None:
    """Start a table."""
    print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def print_rows(name: str, lines: Iterable[object]) -> None:
    """Print rows of a table."""
    for line in lines:
        print(f"| {name} | {line} |", flush=True)


def reductions(args: argparse.Namespace) -> Iterable[tuple[str, list[Reduction]]]:
    """Reduce all that was asked for, case by case."""
    shape = {"model": args.model} if args.model else {}
    wanted = [name for case in args.cases for name in (CASES[case].exact, case) if name]
    for name in dict.fromkeys(wanted):
        settings = args.size, args.exposures, args.results, shape, args.seed
        yield name, [simulated(name, number, *settings) for number in range(args.seeds)]
    if args.rimtimsim:
        yield "RImTimSim", [rimtimsim(args.rimtimsim, args.results / "rimtimsim", shape)]
    if args.roman_l2:
        yield "Roman L2", [roman_l2(args.roman_l2, args.results / "roman_l2", shape)]


def peers(
    args: argparse.Namespace, told: dict[str, tuple[list[Reduction], Curves]]
) -> dict[str, Curves]:
    """Run the other programs on the first field of their case, and print their rows."""
    name = PEER_CASE if PEER_CASE in told else next(iter(told))
    first = told[name][0][0]
    own = curves(first.paths, first.truth) if args.peers or args.photutils else None
    runs: dict[str, Callable[[], Curves]] = {}
    if args.peers and own:
        runs["roman-lcs"] = lambda: roman_lcs(args.peers, first.paths, own)
    if args.photutils and own:
        runs["photutils"] = lambda: photutils(args.photutils, first.paths, first.truth, own)
    found = {}
    for program, run in runs.items():
        try:
            found[f"{program}, {name}"] = run()
        except PeerError as error:  # the tables of our own results are worth more
            print(error, file=sys.stderr)
            continue
        print_rows(f"{program}, {name}", rows(found[f"{program}, {name}"]))
    return found


def ratios(told: dict[str, tuple[list[Reduction], Curves]]) -> None:
    """Print light curves relative to those of the same field with an exact catalogue."""
    heading("Relative to an exact catalogue", "case", "F146", "stars", "scatter ratio", "bias")
    for name, (_, curve) in told.items():
        if name not in CASES or not CASES[name].exact:
            continue
        exact = {row.low: row for row in rows(told[CASES[name].exact][1])}
        for row in rows(curve):
            if row.low in exact:
                ratio = row.scatter / exact[row.low].scatter
                bias = 100.0 * (row.bias - exact[row.low].bias)
                bin_ = f"{row.low}-{row.high} | {row.stars}"
                print_rows(name, [f"{bin_} | {ratio:.2f} | {bias:+.2f} %"])


def astrometric(told: dict[str, tuple[list[Reduction], Curves]]) -> None:
    """Print positions, motions, parallaxes and centroids."""
    numbers = "limit", "scatter / limit", "rms / limit", "pull width", "beyond 5 errors"
    heading("Astrometry", "case", "quantity", "F146", "stars", *numbers)
    for name, (parts, _) in told.items():
        found = [astrometry(part.paths, part.truth) for part in parts]
        for quantity in found[0]:
            together = Offsets.pooled([offsets[quantity] for offsets in found])
            print_rows(f"{name} | {quantity}", offset_rows(together))


def searches(told: dict[str, tuple[list[Reduction], Curves]]) -> None:
    """Print what the search finds of the stars that catalogues lack."""
    heading("Stars found", "case", "F146", "not in the catalogue", "complete", "found", "false")
    for name, (parts, _) in told.items():
        if name in CASES:
            found = Search.pooled([search(part.paths, part.truth) for part in parts])
            print_rows(name, found_rows(found))


def details(told: dict[str, tuple[list[Reduction], Curves]]) -> None:
    """Print all tables but the first."""
    shift = "without its shift", "shift x, y (pixels)"
    heading("PRF", "case", "largest error / peak", *shift, "workflow, s")
    for name, (parts, _) in told.items():
        for part in parts:
            error = prf_error(part.paths, part.truth)
            errors = f"{100 * error.largest:.2f} % | {100 * error.unshifted:.2f} %"
            dx, dy = error.shift
            print_rows(name, [f"{errors} | {dx:+.4f}, {dy:+.4f} | {part.seconds:.0f}"])
    slope = "s_NL (0.001 mag per dex)", "repeatability, F146 15-18", "photon limit"
    pairs = "separation (pixels)", "pairs", "bias of the sum", "pull width of members"
    tables: dict[tuple[str, ...], Callable[[Curves], Iterable[str]]] = {
        ("Linearity", "case", "stars", *slope): lambda curve: [linearity(curve)],
        ("Events", "case", "kind", "events", "bias of the depth", "pull width"): event_rows,
        ("Close pairs", "case", "difference", *pairs): pair_rows,
    }
    for head, make in tables.items():
        lines = {name: list(make(curve)) for name, (_, curve) in told.items()}
        if any(lines.values()):
            heading(*head)
        for name, found in lines.items():
            print_rows(name, found)
    rounds = {name: convergence(parts[0].paths) for name, (parts, _) in told.items()}
    rounds = {name: found for name, found in rounds.items() if found}
    if rounds:
        heading("Convergence of the PRF", "case", "round", *next(iter(rounds.values()))[0])
    for name, history in rounds.items():
        values = [" | ".join(f"{value:.4g}" for value in line.values()) for line in history]
        print_rows(name, [f"{number} | {line}" for number, line in enumerate(values, 1)])


if __name__ == "__main__":
    main()
