"""Every empirical claim of the paper, as data: the sentences, the numbers, what would refute it."""
