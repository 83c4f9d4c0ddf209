//! Against providers of ours.
