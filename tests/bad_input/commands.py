"""Commands that would work, to which the tables add what does not."""

TINY = ("--experiences", "2", "--epochs", "1", "--samples-per-class", "20")
RUN = ("run", "split-digits", "--recipe", "er", *TINY)
SMALL = ("--teacher", "mlp", "--student", "small-mlp", "--samples-per-class", "20", "--epochs", "1")
DISTIL = ("distil", "digits", *SMALL)
TUNE = ("tune", "split-digits", "--recipe", "er", "--search", "lr=0.1:0.3", *TINY)
