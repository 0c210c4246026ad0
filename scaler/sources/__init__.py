"""Where targets come from: the settings, and what is declared where the workers run."""
