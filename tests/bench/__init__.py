"""The price of a task, of a run, of a fleet: measured and held against the budgets."""
