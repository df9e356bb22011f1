"""What every layer may use: text, errors, folders, imports."""
