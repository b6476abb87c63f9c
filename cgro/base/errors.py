"""The exception for user mistakes, and the warning about accuracies that may mislead."""


class UserError(ValueError):
    """A user mistake, in one line: NAME must be CONDITION, got VALUE."""


class AccuracyWarning(UserWarning):
    """An accuracy may mislead, because outputs are not finite or gradients vanish."""
