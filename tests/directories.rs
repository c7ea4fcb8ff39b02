//! Accounts in a directory that the site has already: real ones, started by the tests on loopback or a Unix socket with data
//! of their own, asked by the real server.

mod common;
#[path = "directories/ldap.rs"]
mod ldap;
#[path = "directories/looking_after.rs"]
mod looking_after;
#[path = "directories/postgres.rs"]
mod postgres;
