"""How much of large images the steps look at; the plan of the workflow asks, and must be quick."""

#: Pixels per side of the middle of an image, which is all that the log-polar PRF is learned from:
#: it has thousands of stars bright enough for it, and that PRF is the same everywhere.
MIDDLE = 512
#: Patches per axis that the tensor PRF is learned from, and pixels per side of each.
COUNT, SIDE = 5, 256
#: Pixels in them.
LEARNED = (COUNT * SIDE) ** 2
