//! A collector with a job, and its start.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The processing of the spans on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Spans pass unchanged.
    PassThrough,
    /// Health checks are dropped, and two attributes are added by service name.
    Job2,
    /// Job 2 is done, then a second plugin adds as many attributes again.
    Twice,
    /// Job 2 is done, and five plugins in all add attributes.
    FiveTimes,
}

impl Job {
    /// Returns true if the spans of health checks are dropped.
    pub(crate) fn drops(self) -> bool {
        self != Self::PassThrough
    }

    /// Returns the number of attributes that a span gets.
    pub(crate) fn attributes(self) -> u32 {
        match self {
            Self::PassThrough => 0,
            Self::Job2 => 2,
            Self::Twice => 4,
            Self::FiveTimes => 10,
        }
    }

    /// Returns its name in a command line and in the name of a file.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Job2 => "job-2",
            Self::Twice => "two-plugins",
            Self::FiveTimes => "five-plugins",
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PassThrough => "pass-through",
            Self::Job2 => "job 2",
            Self::Twice => "job 2, twice",
            Self::FiveTimes => "job 2, 5 times",
        })
    }
}

/// A collector with a job.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) job: Job,
    /// The program and its arguments, with placeholders.
    pub(crate) command: Vec<String>,
    /// A file with placeholders in its text. The command refers to it as `{config}`.
    pub(crate) config: Option<PathBuf>,
}

/// The values of the placeholders in one run.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The address that the collector listens on, `host:port`.
    pub(crate) listen: String,
    /// The address that it sends to, `host:port`.
    pub(crate) backend: String,
    /// One more free port, for anything else that a collector listens on.
    pub(crate) spare: String,
    /// The component of job 2.
    pub(crate) module: PathBuf,
}

impl Contestant {
    /// Returns the name of the collector and its job.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.name, self.job)
    }

    /// Returns the command without placeholders; the configuration is written into `folder`.
    pub(crate) fn ready(&self, places: &Places, folder: &Path) -> Result<Vec<String>> {
        let mut config = String::new();
        if let Some(file) = &self.config {
            let file = PathBuf::from(self.filled(&file.display().to_string(), places, ""));
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let name = file.file_name().context("a configuration has a name")?;
            let written = folder.join(name);
            std::fs::write(&written, self.filled(&text, places, ""))?;
            config = written.display().to_string();
        }
        let command = self.command.iter();
        Ok(command
            .map(|part| self.filled(part, places, &config))
            .collect())
    }

    fn filled(&self, text: &str, places: &Places, config: &str) -> String {
        text.replace("{listen}", &places.listen)
            .replace("{backend}", &places.backend)
            .replace("{spare}", &places.spare)
            .replace("{module}", &places.module.display().to_string())
            .replace("{job}", self.job.slug())
            .replace("{config}", config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Placeholders are replaced in the command, in the name of the configuration and in its text.
    #[test]
    fn placeholders_are_filled() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("job-2.in.yaml");
        std::fs::write(&template, "from: {listen}\nto: {backend}\ndoes: {job}\n").unwrap();
        let contestant = Contestant {
            name: "it".to_owned(),
            job: Job::Job2,
            command: vec!["it".to_owned(), "--config={config}".to_owned()],
            config: Some(folder.path().join("{job}.in.yaml")),
        };
        let places = Places {
            listen: "127.0.0.1:1".to_owned(),
            backend: "127.0.0.1:2".to_owned(),
            spare: "127.0.0.1:3".to_owned(),
            module: PathBuf::from("job.wasm"),
        };
        let written = tempfile::tempdir().unwrap();
        let command = contestant.ready(&places, written.path()).unwrap();
        let config = written.path().join("job-2.in.yaml");
        assert_eq!(command, ["it", &format!("--config={}", config.display())]);
        let text = std::fs::read_to_string(config).unwrap();
        assert_eq!(text, "from: 127.0.0.1:1\nto: 127.0.0.1:2\ndoes: job-2\n");
    }
}
