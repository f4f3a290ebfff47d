//! The command line: `run` (what it does without a word), `check`, `tls init`, `agents add|list|revoke|gaps`, `rules …`, `store …`.

mod address;
mod notify;
mod print;
mod rules;
mod store;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use model::RegionCode;
use telemetry::logs::Level;

use crate::ledger::{AgentGaps, AgentStatus};
use crate::settings::Checked;
use crate::state::now;
use crate::{admin, enrolment, local, run, tls};

/// Pantau's collector: keeps what agents report and answers queries about it. Without a word it runs, without settings it
/// watches this host and listens on 127.0.0.1:9797.
#[derive(Debug, Parser)]
#[command(name = "pantau-collector", version = telemetry::build::VERSION)]
struct Arguments {
    /// The settings file; without it everything has its default.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much is logged: error, warn, info or debug.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    log: Level,
    #[command(subcommand)]
    word: Option<Word>,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Runs until SIGTERM; SIGHUP reloads the settings.
    Run,
    /// Reads the settings and says what is wrong with them.
    Check,
    /// Certificates for the listener.
    Tls {
        #[command(subcommand)]
        word: TlsWord,
    },
    /// Who may report here, and what is missing from them.
    Agents {
        #[command(subcommand)]
        word: AgentsWord,
    },
    /// Rule files: checked before they are used.
    Rules {
        #[command(subcommand)]
        word: rules::RulesWord,
    },
    /// Those who are told of alerts.
    Notify {
        #[command(subcommand)]
        word: notify::NotifyWord,
    },
    /// The store's folder: check, back up, restore; samples in and out. Ends with 0, with 1 where something that it names is damaged or
    /// left out, with 2 where it could not be done.
    Store {
        #[command(subcommand)]
        word: store::StoreWord,
    },
}

#[derive(Debug, Subcommand)]
enum TlsWord {
    /// Makes a private authority (once) and a server certificate (each time) in the data folder.
    Init {
        /// Host names and addresses by which agents and readers reach this collector.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum AgentsWord {
    /// Enrols an agent and prints the one line to run there. Works while the collector runs.
    Add {
        /// Its name, unique.
        name: String,
        /// Code of the government that owns what it reports, such as 33.19.
        #[arg(long)]
        region: RegionCode,
        /// The site that it reports from, such as kudus-1.
        #[arg(long)]
        site: String,
        /// Address by which it reaches this collector, such as https://pantau.example.go.id:9797.
        #[arg(long)]
        address: Option<String>,
    },
    /// Lists the enrolled agents.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes an agent's token worthless at once.
    Revoke {
        /// Its name.
        name: String,
    },
    /// Says what is missing from whom, and why; asks the collector that runs.
    Gaps {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::logs::init(arguments.log);
    match act(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pantau-collector: {}", telemetry::faults::for_terminal(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let file = arguments.config.as_deref();
    let settings = match file {
        Some(file) => Checked::load(file)?,
        None => Checked::quickstart()?,
    };
    match arguments.word.unwrap_or(Word::Run) {
        Word::Run => runtime()?.block_on(run::until_signal(settings, file)),
        Word::Check => check(&settings, file),
        Word::Tls { word: TlsWord::Init { names } } => tls_init(&settings, &names),
        Word::Agents { word } => agents(&settings, file, word),
        Word::Rules { word } => return rules::act(&settings, word),
        Word::Notify { word } => return runtime()?.block_on(notify::act(&settings, word)),
        Word::Store { word } => return Ok(store::act(&settings, word)),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn check(settings: &Checked, file: Option<&Path>) -> anyhow::Result<()> {
    settings.check_files()?;
    let name = file.map_or("the defaults".into(), |file| file.display().to_string());
    println!(
        "{name}: good; would listen on {} and keep data in {}",
        settings.listen,
        settings.data.display()
    );
    Ok(())
}

fn tls_init(settings: &Checked, names: &[String]) -> anyhow::Result<()> {
    let made = tls::init(&settings.data, names)?;
    let authority =
        if made.new_authority { "made a private authority and" } else { "kept the authority and made" };
    println!("{authority} a certificate for {} in {}", names.join(", "), made.folder.display());
    println!("authority's fingerprint: sha256:{}", made.fingerprint);
    if settings.tls.is_none() {
        println!("to use it, add to the settings:  tls: {{}}");
    }
    Ok(())
}

fn agents(settings: &Checked, file: Option<&Path>, word: AgentsWord) -> anyhow::Result<()> {
    let data = &settings.data;
    match word {
        AgentsWord::Add { name, region, site, address } => {
            // What can fail comes first: the token is shown once.
            let address = address::address(settings, file, address.as_deref())?;
            let trust = print::Trust::of(settings, &address)?;
            let token = enrolment::add(data, &name, region, &site, now())?;
            let is_loopback = settings.listen.ip().is_loopback();
            print!("{}", print::enrolled(&name, &address, &trust, is_loopback, &token));
        }
        AgentsWord::Revoke { name } => {
            enrolment::revoke(data, &name, now())?;
            println!("{name} may no longer report; its data stays");
        }
        AgentsWord::List { json } => {
            let states = ask::<Vec<AgentStatus>>(data, admin::AGENTS).ok();
            print!("{}", print::list(&enrolment::list(data)?, states.as_deref(), json));
        }
        AgentsWord::Gaps { json } => {
            let gaps = ask::<Vec<AgentGaps>>(data, admin::GAPS)?;
            print!("{}", print::gaps(&gaps, json));
        }
    }
    Ok(())
}

/// Asks the collector that runs on the data folder.
fn ask<T: serde::de::DeserializeOwned>(data: &Path, path: &str) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let body = runtime.block_on(local::get(data, path))?;
    let answer: admin::Answer<T> =
        serde_json::from_slice(&body).context("cannot read the collector's answer")?;
    Ok(answer.data)
}
