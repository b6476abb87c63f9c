"""The one exception that a user's mistake becomes."""


class UserError(ValueError):
    """A user's mistake: one line that names the value, what is allowed, and what to do."""
