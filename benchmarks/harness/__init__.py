"""Processes: starting and ending them, and asking the kernel what they used."""
