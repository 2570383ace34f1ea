"""Money: prices of devices, budgets in dollars and device hours, bills and forecasts. Pure functions of plain data."""
