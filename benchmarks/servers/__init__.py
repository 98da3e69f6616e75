"""The servers that are compared: one file each, and `registry.py`, which lists them.

Nothing is imported here: the servers run as modules of this package, and pay for what it imports.
"""
