# What can be shown.
show
