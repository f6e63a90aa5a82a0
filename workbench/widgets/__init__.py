"""Interactive pieces of the two dashboards: they wire tables and figures to a page, and compute nothing themselves."""
