"""The one exception that a user's mistake becomes, and the warning about a number that may mislead."""


class UserError(ValueError):
    """A user's mistake: one line that names the value, what is allowed, and what to do."""


class AccuracyWarning(UserWarning):
    """An accuracy was computed as asked, and may not mean what it seems to: outputs that are not finite, gradients that
    vanish."""
