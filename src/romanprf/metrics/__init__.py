"""How well the model and the light curves are."""
