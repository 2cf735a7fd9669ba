//! Builds the graph from settings and real seams, supervises it, ends it.
