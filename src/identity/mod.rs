//! Loads, proves and orders the certificate chain and its key.
