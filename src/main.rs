//! The `ringpost` command: arguments in, exit code out. Everything else is the library.

use clap::Parser;
use ringpost::cli::{Arguments, Command};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringpost::base::pages::keep_small();
    let arguments = Arguments::parse();
    // To the end of main: what is queued is written then.
    let _log = ringpost::boot::log::start(arguments.log_format());
    #[cfg(feature = "planted-bugs")]
    eprintln!("{}", ringpost::disk::planted::warning());
    let result = match arguments.command {
        Command::Demo(demo) => ringpost::boot::demo::run(&demo).map(|()| ExitCode::SUCCESS),
        Command::Init(init) => ringpost::boot::init::run(&init),
        Command::Serve(serve) => ringpost::boot::serve::run(&serve).map(|()| ExitCode::SUCCESS),
        Command::Check(check) => ringpost::boot::configuration::check(&check),
        Command::Reload(place) => ringpost::boot::reload::ask(&place),
        Command::Config(config) => ringpost::boot::configuration::run(&config),
        Command::Account(account) => ringpost::boot::manage::account(account),
        Command::Alias(alias) => ringpost::boot::manage::alias(alias),
        Command::Domain(domain) => ringpost::boot::manage::domain(domain),
        Command::Store(store) => ringpost::boot::store::run(&store),
        Command::Doctor(doctor) => ringpost::boot::doctor::run(&doctor),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ringpost: {error}");
            error.exit_code()
        }
    }
}
