//! The differences between two configurations, grouped by what it takes to get from one to the
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use spandrel_config::Config;
use spandrel_config::id::Id;
use spandrel_config::processor::Wasm;
use spandrel_config::service::Pipeline;

/// The differences between two configurations.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Stages that need another generation: new ones, and those with another module, config or
    /// limits.
    loads: BTreeMap<Id, Arc<Wasm>>,
    /// Stages of which something else changed.
    policies: BTreeMap<Id, Arc<Wasm>>,
    /// Paths of what changes only with a restart.
    needs_restart: Vec<String>,
    /// Pipelines of the new configuration that go on running; only their stages and exporters may
    /// change.
    stay: BTreeSet<Id>,
    /// The pipelines in `stay` whose stages change.
    restaged: BTreeSet<Id>,
    /// The pipelines in `stay` that lose a stage.
    reduced: BTreeSet<Id>,
    /// The pipelines in `stay` whose exporters change.
    rerouted: BTreeSet<Id>,
    changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Debug)]
struct Change {
    kind: Kind,
    /// The kind and name of the thing: `receiver otlp`.
    name: String,
    /// The change, such as `added`.
    how: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Removed,
    Changed,
}

impl Difference {
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let mut difference = Self::default();
        difference.stages(old, new);
        difference.receivers(old, new);
        difference.exporters(old, new);
        difference.pipelines(old, new);
        let (from, to) = (&old.service, &new.service);
        let same = from.extensions.len() == to.extensions.len()
            && from
                .extensions
                .iter()
                .zip(&to.extensions)
                .all(|(a, b)| a == b);
        for (is_same, part) in [
            (
                from.drain_timing() == to.drain_timing(),
                "times of the drain",
            ),
            (from.plugins == to.plugins, "rules for plugins"),
        ] {
            if !is_same {
                difference.add(Kind::Changed, part.to_owned(), "changed");
            }
        }
        for (is_same, part) in [
            (same, "service::extensions"),
            (from.telemetry == to.telemetry, "service::telemetry"),
            (from.shards == to.shards, "service::shards"),
            (from.watch == to.watch, "service::watch"),
        ] {
            if !is_same {
                difference.needs_restart.push(part.to_owned());
            }
        }
        difference
    }

    /// Returns the stages that need another generation.
    pub(crate) fn loads(&self) -> &BTreeMap<Id, Arc<Wasm>> {
        &self.loads
    }

    /// Returns the stages of which something else changed.
    pub(crate) fn policies(&self) -> &BTreeMap<Id, Arc<Wasm>> {
        &self.policies
    }

    /// Returns the paths of what changes only with a restart.
    pub(crate) fn needs_restart(&self) -> &[String] {
        &self.needs_restart
    }

    /// Returns true if the running pipeline of this name goes on.
    pub(crate) fn stays(&self, pipeline: &Id) -> bool {
        self.stay.contains(pipeline)
    }

    /// Returns true if the stages of a pipeline that goes on change.
    pub(crate) fn restages(&self, pipeline: &Id) -> bool {
        self.restaged.contains(pipeline)
    }

    /// Returns true if a pipeline that goes on loses a stage.
    pub(crate) fn removes(&self, pipeline: &Id) -> bool {
        self.reduced.contains(pipeline)
    }

    /// Returns true if the exporters of a pipeline that goes on change.
    pub(crate) fn reroutes(&self, pipeline: &Id) -> bool {
        self.rerouted.contains(pipeline)
    }

    /// Returns the changes for people, each as one line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.changes.iter();
        lines.map(|it| format!("{} {}", it.name, it.how)).collect()
    }

    /// Returns the names of what was added, removed and changed.
    pub(crate) fn summary(&self) -> ChangedNames {
        let of = |kind| {
            let mut names: Vec<String> = Vec::new();
            for change in self.changes.iter().filter(|it| it.kind == kind) {
                if !names.contains(&change.name) {
                    names.push(change.name.clone());
                }
            }
            names
        };
        ChangedNames {
            added: of(Kind::Added),
            removed: of(Kind::Removed),
            changed: of(Kind::Changed),
        }
    }

    fn add(&mut self, kind: Kind, name: String, how: &'static str) {
        self.changes.push(Change { kind, name, how });
    }

    fn stages(&mut self, old: &Config, new: &Config) {
        let (before, after) = (old.stages(), new.stages());
        for (id, wasm) in &after {
            match before.get(id) {
                None => {
                    self.add(Kind::Added, format!("stage {id}"), "added");
                    self.loads.insert(id.clone(), Arc::clone(wasm));
                }
                Some(known) if known == wasm => {}
                Some(known) if is_same_generation(known, wasm) => {
                    self.add(Kind::Changed, format!("stage {id}"), "has other policies");
                    self.policies.insert(id.clone(), Arc::clone(wasm));
                }
                Some(_) => {
                    self.add(Kind::Changed, format!("stage {id}"), "reconfigured");
                    self.loads.insert(id.clone(), Arc::clone(wasm));
                }
            }
        }
        for id in before.keys().filter(|id| !after.contains_key(*id)) {
            self.add(Kind::Removed, format!("stage {id}"), "removed");
        }
    }

    fn receivers(&mut self, old: &Config, new: &Config) {
        let (before, after) = (old.receivers(), new.receivers());
        for receiver in &after {
            let known = before.iter().find(|known| known.id == receiver.id);
            let (kind, how) = match known {
                None => (Kind::Added, "added"),
                Some(known) if known == receiver => continue,
                Some(_) => (Kind::Changed, "changed"),
            };
            self.add(kind, format!("receiver {}", receiver.id), how);
        }
        for receiver in before {
            if !after.iter().any(|known| known.id == receiver.id) {
                self.add(
                    Kind::Removed,
                    format!("receiver {}", receiver.id),
                    "removed",
                );
            }
        }
    }

    fn exporters(&mut self, old: &Config, new: &Config) {
        let (before, after) = (old.exporters(), new.exporters());
        for exporter in &after {
            let known = before.iter().find(|known| known.id == exporter.id);
            let (kind, how) = match known {
                None => (Kind::Added, "added"),
                Some(known) if known == exporter => continue,
                Some(_) => (Kind::Changed, "changed"),
            };
            self.add(kind, format!("exporter {}", exporter.id), how);
        }
        for exporter in before {
            if !after.iter().any(|known| known.id == exporter.id) {
                self.add(
                    Kind::Removed,
                    format!("exporter {}", exporter.id),
                    "removed",
                );
            }
        }
    }

    fn pipelines(&mut self, old: &Config, new: &Config) {
        let before = &old.service.pipelines;
        for pipeline in &new.service.pipelines {
            let id = &pipeline.id;
            let Some(known) = before.iter().find(|known| known.id == *id) else {
                self.add(Kind::Added, format!("pipeline {id}"), "added");
                continue;
            };
            // The running pipeline holds the journal, and nothing else can open it. The journal
            // also decides when senders are answered.
            let same_journal = known.durability == pipeline.durability;
            if !same_journal {
                let part = format!("service::pipelines::{id}::durability");
                self.needs_restart.push(part);
            }
            // The time at which senders are answered is fixed when a pipeline is built.
            if same_journal && known.ack_on != pipeline.ack_on {
                self.add(Kind::Changed, format!("pipeline {id}"), "replaced");
                continue;
            }
            self.stay.insert(id.clone());
            let row = |pipeline: &Pipeline| -> Vec<Id> {
                let stages = pipeline.stages.iter();
                stages.map(|stage| stage.id.clone()).collect()
            };
            if row(known) != row(pipeline) {
                self.add(Kind::Changed, format!("pipeline {id}"), "has other stages");
                self.restaged.insert(id.clone());
            }
            if row(known).iter().any(|id| !row(pipeline).contains(id)) {
                self.reduced.insert(id.clone());
            }
            let touched = |id: &Id| self.loads.contains_key(id) || self.policies.contains_key(id);
            if row(pipeline).iter().any(touched) {
                self.restaged.insert(id.clone());
            }
            // An exporter with other settings is reported with the exporters; its queue is a new
            // one.
            if known.exporters != pipeline.exporters || known.batch != pipeline.batch {
                self.rerouted.insert(id.clone());
            }
            let names = |of: &Pipeline| -> Vec<Id> {
                let exporters = of.exporters.iter();
                exporters.map(|exporter| exporter.id.clone()).collect()
            };
            if names(known) != names(pipeline) || known.batch != pipeline.batch {
                self.add(
                    Kind::Changed,
                    format!("pipeline {id}"),
                    "has other exporters",
                );
            }
            let names = |of: &Pipeline| -> Vec<Id> {
                let receivers = of.receivers.iter();
                receivers.map(|receiver| receiver.id.clone()).collect()
            };
            if names(known) != names(pipeline) {
                self.add(
                    Kind::Changed,
                    format!("pipeline {id}"),
                    "has other receivers",
                );
            }
            if known.limiters != pipeline.limiters {
                self.add(
                    Kind::Changed,
                    format!("pipeline {id}"),
                    "has other memory limiters",
                );
            }
        }
        for known in before {
            if !new.service.pipelines.iter().any(|it| it.id == known.id) {
                self.add(Kind::Removed, format!("pipeline {}", known.id), "removed");
            }
        }
    }
}

/// The names of what a change of the configuration added, removed and changed.
#[derive(Debug, Default)]
pub(crate) struct ChangedNames {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// Keeps the old value of what only a restart changes, so that the next reload reports it again.
pub(crate) fn keep_journals(old: &Config, new: &mut Config) {
    for pipeline in &mut new.service.pipelines {
        let mut before = old.service.pipelines.iter();
        if let Some(known) = before.find(|known| known.id == pipeline.id)
            && known.durability != pipeline.durability
        {
            pipeline.durability.clone_from(&known.durability);
            pipeline.ack_on = known.ack_on;
        }
    }
}

/// Returns true if everything that a generation is made of is the same.
fn is_same_generation(one: &Wasm, other: &Wasm) -> bool {
    one.module == other.module && one.config == other.config && one.limits == other.limits
}
