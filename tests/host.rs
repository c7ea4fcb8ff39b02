//! A host as an admin sets it up: `init`, `check`, `serve`, accounts while it runs, reload, certificates; with the programs
//! that its users have.

#[path = "host/accounts.rs"]
mod accounts;
#[path = "host/certificates.rs"]
mod certificates;
#[path = "host/checking.rs"]
mod checking;
mod common;
#[path = "host/process.rs"]
mod process;
#[path = "host/programs.rs"]
mod programs;
#[path = "host/reloading.rs"]
mod reloading;
#[path = "host/users.rs"]
mod users;
