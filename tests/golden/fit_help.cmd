# The options.
fit --help
