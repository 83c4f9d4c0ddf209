//! What holds on both kinds of database.
