# A table of names.
show schedules
