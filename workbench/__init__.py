"""The parts that the stage notebooks are composed from; importing this package loads neither torch nor whisper."""

__version__ = "0.1.0"
