"""Schedules: what agents plan for themselves."""
