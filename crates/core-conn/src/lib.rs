//! core-conn
