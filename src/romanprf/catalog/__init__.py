"""From catalogues to the sources of a reduction: motion, matching, blends, footprint."""
