//! The program `pantau-agent`. What it does stands in the library beside it; here is only how it is called.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pantau_agent::program;
use pantau_agent::settings::Settings;

const DEFAULT_CONFIG: &str = "/etc/pantau/agent.yaml";

/// Watches this machine and what is near it, and brings the figures to a Pantau collector.
#[derive(Parser)]
#[command(name = "pantau-agent", version = telemetry::build::VERSION)]
struct Arguments {
    /// The settings file.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Collects and sends until it is told to stop.
    Run,
    /// Reads the settings, says what is wrong with them, and starts nothing.
    Check,
    /// Prints one collection as Prometheus text, and sends nothing.
    Once,
    /// Looks at SNMP devices: what they say, which profile they get and why.
    #[command(subcommand)]
    Snmp(Box<program::snmp::Word>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pantau-agent: {}", telemetry::faults::for_terminal(why.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    // Short look-ups (names, disk) leave the one thread; few at a time, with small stacks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(512 << 10)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    match &arguments.command {
        Command::Snmp(word) => {
            let settings = load_for_snmp(arguments, word)?;
            runtime.block_on(program::snmp::run(word, settings.as_ref()))
        }
        Command::Check => {
            let settings = load(arguments)?;
            settings.check_files()?;
            println!("{}: good", arguments.config.display());
            Ok(())
        }
        Command::Run => {
            let settings = load(arguments)?;
            telemetry::logs::init(settings.log.level());
            tracing::info!("pantau-agent {}", telemetry::build::line());
            runtime.block_on(program::run(settings, &arguments.config))
        }
        Command::Once => {
            let settings = load(arguments)?;
            let collected = runtime.block_on(program::once(&settings))?;
            print!("{}", collected.text);
            collected.faults.iter().for_each(|fault| eprintln!("pantau-agent: {fault}"));
            Ok(())
        }
    }
}

/// `once` shows something without any settings; the other words need theirs.
fn load(arguments: &Arguments) -> anyhow::Result<Settings> {
    let is_default = arguments.config == Path::new(DEFAULT_CONFIG);
    if matches!(arguments.command, Command::Once) && is_default && !arguments.config.exists() {
        return Ok(Settings::default());
    }
    if is_default && !arguments.config.exists() {
        anyhow::bail!(
            "there are no settings in {DEFAULT_CONFIG}: `pantau-collector agents add NAME --region CODE --site SITE` on the collector's \
             machine prints the line that makes them; or say where they are by --config"
        );
    }
    Ok(Settings::load(&arguments.config)?)
}

/// The words for devices do without settings; where there are some, they know the devices' names and secrets.
fn load_for_snmp(arguments: &Arguments, word: &program::snmp::Word) -> anyhow::Result<Option<Settings>> {
    let is_there = arguments.config != Path::new(DEFAULT_CONFIG) || arguments.config.exists();
    Ok(if is_there && word.wants_settings() { Some(Settings::load(&arguments.config)?) } else { None })
}
