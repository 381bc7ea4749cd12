//! handoverctl: the command line client of the D-Bus API.
//!
//! `args` says what may be given, `commands` has a file for each command, `client` calls the daemon, `follow` stays
//! with a job to its end, `render` turns values into text. Only `bundle build`, `bundle inspect` and `recover-table` work without
//! the daemon.

mod args;
mod bundle;
mod client;
mod commands;
mod events;
mod exit;
mod files;
mod follow;
mod job;
mod measures;
mod output;
mod plans;
mod progress;
mod proxy;
mod render;
mod rows;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use client::Client;
use exit::Failure;
use output::{Ui, complain};

/// What every command works with.
struct Context {
    ui: Ui,
    bus: String,
}

impl Context {
    /// Connects to the daemon.
    async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.bus).await
    }
}

/// Runs handoverctl with the arguments of this process; its exit code (they are told in `--help`).
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let context = Context {
        ui: Ui::new(global.json, global.quiet),
        bus: global.bus,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("handoverctl: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command, &context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(report) = failure.report(context.ui.json) {
                complain(&report);
            }
            failure.into()
        }
    }
}

async fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Bundle(bundle) => bundle.run(context).await,
        Command::Deploy(deploy) => deploy.run(context).await,
        Command::Move(moves) => moves.run(context).await,
        Command::Plan(plan) => plan.run(context).await,
        Command::Apply(apply) => apply.run(context).await,
        Command::WhatIf(what_if) => what_if.run(context).await,
        Command::Why(why) => why.run(context).await,
        Command::Freeze(freeze) => freeze.run(context).await,
        Command::Thaw(thaw) => thaw.run(context).await,
        Command::Maintenance(maintenance) => maintenance.run(context).await,
        Command::Rebalance(rebalance) => rebalance.run(context).await,
        Command::Upgrade(upgrade) => upgrade.run(context).await,
        Command::Remove(remove) => remove.run(context).await,
        Command::Start(start) => start.run(context).await,
        Command::Stop(stop) => stop.run(context).await,
        Command::Services(services) => services.run(context).await,
        Command::Guests(guests) => guests.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Metrics(metrics) => metrics.run(context).await,
        Command::Jobs(jobs) => jobs.run(context).await,
        Command::Resume(resume) => resume.run(context).await,
        Command::Abandon(abandon) => abandon.run(context).await,
        Command::RecoverTable(recover) => recover.run(context),
        Command::Watch(watch) => watch.run(context).await,
        Command::Completions(completions) => completions.run(context),
        Command::Man(man) => man.run(context),
    }
}
