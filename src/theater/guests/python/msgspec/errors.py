"""What can go wrong when data is read or written."""


class MsgspecError(Exception):
    """Base of the others."""


class EncodeError(MsgspecError):
    """A value cannot be written."""


class DecodeError(MsgspecError):
    """Data cannot be read."""


class ValidationError(DecodeError):
    """Data is not of the type that was asked for."""
