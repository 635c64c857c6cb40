"""Whatever lies in a storage: a sound value or a typed error; nothing runs, nothing is replaced."""
