"""Which training samples a network memorizes, which of them help, and which harm."""
