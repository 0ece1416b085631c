"""Public Python API: the commands as functions, with outputs as xarray and pandas."""
