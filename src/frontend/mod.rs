//! Gives credentials to local callers in each way SDKs know, and to nobody else.
