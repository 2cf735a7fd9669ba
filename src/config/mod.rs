//! Turns arguments, environment and a file into checked settings, reporting every mistake at once.
