//! One daemon turns an X.509 certificate into AWS credentials every SDK can use.
