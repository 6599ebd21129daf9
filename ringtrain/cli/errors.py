"""The one error a subcommand raises for what its user can mend."""


class UsageError(Exception):
    """What was wrong and what to do about it; ``ringtrain`` prints it and exits with status 2."""
