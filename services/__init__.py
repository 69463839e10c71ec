"""Hookline's services, and the suite that runs them on one machine."""
