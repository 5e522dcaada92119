"""How does Dagster see the project? One pair of assets per mapping, with checks, jobs, schedules and a sensor."""
