//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: cargo peers [OPTIONS] [-- ARGUMENTS OF spandrel bench]

Compares collectors side by side: pass-through, and job 2 (drop health checks, add two attributes
by service name).

  --rounds N             rounds, in each of which every contestant runs once (default 5)
  --seconds N            seconds of each run (default 10)
  --only WORD            only contestants whose name has this word; may be repeated
  --peer NAME=COMMAND    one more collector, once for each job; may be repeated. In the command,
                         {config} is a configuration file, {listen} and {backend} are host:port,
                         {job} is pass-through or job-2
  --peer-config NAME=FILE  what {config} is for that peer: a file with {listen}, {backend} and
                         {job} in its text, and {job} in its name; by default the configurations
                         for the OpenTelemetry Collector
  --as-built             takes the programs as they were built last, whatever the sources say now
  -o, --output FORMAT    table, markdown or json (default table)";

/// The caller's request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Help,
    Run(Arguments),
    /// Runs as the floor: this program is then a contestant itself.
    Pump {
        listen: String,
        backend: String,
    },
}

/// The settings of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// Words to select contestants: a name must contain one of them. If empty, all take part.
    pub(crate) only: Vec<String>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) output: Output,
    /// True if nothing is built.
    pub(crate) as_built: bool,
    /// Arguments that are passed on to `spandrel bench`.
    pub(crate) bench: Vec<String>,
}

/// A collector given on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Markdown,
    Json,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            rounds: 5,
            seconds: 10,
            only: Vec::new(),
            peers: Vec::new(),
            output: Output::Table,
            as_built: false,
            bench: Vec::new(),
        }
    }
}

/// Reads the command line. An error is a sentence for the caller.
pub(crate) fn read(given: &[String]) -> Result<Wanted, String> {
    if let [first, listen, backend] = given
        && first == "pump"
    {
        let (listen, backend) = (listen.clone(), backend.clone());
        return Ok(Wanted::Pump { listen, backend });
    }
    let mut arguments = Arguments::default();
    let mut configs = Vec::new();
    let mut rest = given.iter();
    while let Some(name) = rest.next() {
        let mut value = || {
            let value = rest.next().cloned();
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Wanted::Help),
            "--rounds" => arguments.rounds = count(name, &value()?, 100)?,
            "--seconds" => arguments.seconds = count(name, &value()?, 3600)?,
            "--only" => arguments.only.push(value()?),
            "--peer" => arguments.peers.push(peer(&value()?)?),
            "--peer-config" => configs.push(named(name, &value()?)?),
            "--as-built" => arguments.as_built = true,
            "--output" | "-o" => arguments.output = output(&value()?)?,
            "--" => arguments.bench = rest.by_ref().cloned().collect(),
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    for (name, file) in configs {
        let peer = arguments.peers.iter_mut().find(|peer| peer.name == name);
        let peer = peer.ok_or_else(|| format!("--peer-config {name}: there is no such --peer"))?;
        peer.config = Some(PathBuf::from(file));
    }
    Ok(Wanted::Run(arguments))
}

fn count(name: &str, value: &str, most: u32) -> Result<u32, String> {
    let count = value.parse().ok();
    count
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| format!("{name} takes a number from 1 to {most}, not `{value}`"))
}

fn output(value: &str) -> Result<Output, String> {
    match value {
        "table" => Ok(Output::Table),
        "markdown" => Ok(Output::Markdown),
        "json" => Ok(Output::Json),
        _ => Err(format!(
            "--output takes table, markdown or json, not `{value}`"
        )),
    }
}

fn named(option: &str, value: &str) -> Result<(String, String), String> {
    let named = value.split_once('=');
    let named = named.filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = named.ok_or_else(|| format!("{option} takes NAME=..., not `{value}`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn peer(value: &str) -> Result<Peer, String> {
    let (name, command) = named("--peer", value)?;
    Ok(Peer {
        name,
        command: command.split_whitespace().map(str::to_owned).collect(),
        config: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &[&str]) -> Result<Wanted, String> {
        let given: Vec<String> = line.iter().map(ToString::to_string).collect();
        read(&given)
    }

    fn read_run(line: &[&str]) -> Arguments {
        match read_line(line) {
            Ok(Wanted::Run(arguments)) => arguments,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    /// Without arguments it is the comparison of the note: five rounds of all contestants.
    #[test]
    fn nothing_need_be_said() {
        assert_eq!(read_run(&[]), Arguments::default());
        assert_eq!(Arguments::default().rounds, 5);
    }

    /// Every option is read, a peer's command is split, and the rest is passed on.
    #[test]
    fn options_are_read() {
        let arguments = read_run(&[
            "--rounds",
            "3",
            "--seconds",
            "4",
            "--only",
            "job",
            "--only",
            "proxy",
            "--peer",
            "mine=/opt/mine run --config {config}",
            "--peer-config",
            "mine=mine-{job}.toml",
            "--as-built",
            "-o",
            "markdown",
            "--",
            "--batch",
            "32",
        ]);
        let peer = Peer {
            name: "mine".to_owned(),
            command: ["/opt/mine", "run", "--config", "{config}"]
                .map(str::to_owned)
                .to_vec(),
            config: Some(PathBuf::from("mine-{job}.toml")),
        };
        let expected = Arguments {
            rounds: 3,
            seconds: 4,
            only: vec!["job".to_owned(), "proxy".to_owned()],
            peers: vec![peer],
            output: Output::Markdown,
            as_built: true,
            bench: vec!["--batch".to_owned(), "32".to_owned()],
        };
        assert_eq!(arguments, expected);
    }

    /// A mistake gives an error message, not a guess.
    #[test]
    fn mistakes_are_told() {
        for (line, problem) in [
            (
                &["--rounds", "0"][..],
                "--rounds takes a number from 1 to 100, not `0`",
            ),
            (&["--seconds"], "--seconds needs a value"),
            (&["--rouns", "5"], "unknown argument `--rouns`"),
            (
                &["--peer", "otelcol"],
                "--peer takes NAME=..., not `otelcol`",
            ),
            (
                &["--peer-config", "x=y"],
                "--peer-config x: there is no such --peer",
            ),
            (
                &["-o", "xml"],
                "--output takes table, markdown or json, not `xml`",
            ),
        ] {
            assert_eq!(read_line(line), Err(problem.to_owned()));
        }
    }

    /// The argument `pump` starts this program as the floor.
    #[test]
    fn the_pump_is_asked_for_by_its_name() {
        let wanted = Wanted::Pump {
            listen: "a:1".to_owned(),
            backend: "b:2".to_owned(),
        };
        assert_eq!(read_line(&["pump", "a:1", "b:2"]), Ok(wanted));
        assert_eq!(read_line(&["--help"]), Ok(Wanted::Help));
    }
}
