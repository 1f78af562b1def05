"""Reports: one renderer a file over one view model."""
