//! Plays IAM Roles Anywhere over TLS on loopback.
