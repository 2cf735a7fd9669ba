//! Turns a request, an identity and an instant into a signed request; pure.
