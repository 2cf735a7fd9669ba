//! What people see of good and bad certificates.
