//! One file a verb; nobody names it.
