"""Parts of a large image that the PRF is learned from.

The plan of the workflow needs these numbers, so this module imports nothing.
"""

#: Side of the central square that the log-polar PRF is learned from, pixels: it holds thousands
#: of stars bright enough for it, and that PRF is the same everywhere on the image.
LOGPOLAR_SIDE = 512
#: Patches per axis of an image that the tensor PRF is learned from: spread from edge to edge, they
#: give each node of a PRF that changes over the image stars of its own.
PATCHES_PER_AXIS = 5
#: Side of a patch, pixels: all patches together hold a tenth of the pixels of a detector, whose
#: stars are a hundred times more than its PRF needs.
PATCH_SIDE = 256
#: Pixels in all patches of an image: the most that one image gives to the tensor PRF.
PATCH_PIXELS = (PATCHES_PER_AXIS * PATCH_SIDE) ** 2
