//! The result of a run of `zhaul`: exit code, output, and its report.

use std::fmt;
use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

/// A run names all of this to the admin.
pub(crate) fn assert_reports(run: &Run, words: &[&str]) {
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is not in {run:?}");
    }
}

/// A finished run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A step of a report: what it did, where, to what end.
#[derive(Debug, Clone)]
pub(crate) struct Did {
    pub(crate) action: String,
    pub(crate) place: String,
    pub(crate) moved_bytes: u64,
    pub(crate) step: Value,
}

impl Run {
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The result of a run that [`World::start`] began and that ends within `limit`, and how long it still took.
    pub(crate) fn end(world: &World, mut run: Child, limit: Duration) -> (Self, Duration) {
        let read = |name| fs::read_to_string(world.directory().join(name)).unwrap();
        let started = Instant::now();
        let code = loop {
            if let Some(status) = run.try_wait().unwrap() {
                break status.code();
            }
            if started.elapsed() > limit {
                drop(run.kill());
                panic!("the run does not end within {limit:?}: {}", read("stderr"));
            }
            thread::sleep(Duration::from_millis(20));
        };
        (Self { code, stdout: read("stdout"), stderr: read("stderr") }, started.elapsed())
    }

    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The words of the first `zhaul` command that the message shows after `next:`.
    pub(crate) fn next_words(&self) -> Vec<String> {
        let advice = self.stderr.split("next:").nth(1).unwrap_or_default();
        let command = advice.split('`').nth(1).unwrap_or_default();
        assert!(command.starts_with("zhaul "), "{self:?}");
        command.split(' ').skip(1).map(str::to_owned).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The steps of the plan or report, without what was estimated or came of them.
    pub(crate) fn plain_steps(&self) -> Vec<Value> {
        let mut steps = self.json()["steps"].as_array().unwrap().clone();
        for step in &mut steps {
            let step = step.as_object_mut().unwrap();
            step.retain(|key, _| key != "estimated_bytes" && key != "result");
        }
        steps
    }

    /// The steps of a report.
    pub(crate) fn did(&self) -> Vec<Did> {
        let json = self.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let steps = json["steps"].as_array().unwrap().iter();
        steps
            .map(|step| Did {
                action: text(&step["action"]["action"]),
                place: step["place"].as_str().map_or_else(|| text(&step["place"]["target"]), str::to_owned),
                moved_bytes: step["result"]["moved_bytes"].as_u64().unwrap_or(0),
                step: step.clone(),
            })
            .collect()
    }

    /// The steps of one kind.
    pub(crate) fn steps(&self, action: &str) -> Vec<Value> {
        let is_wanted = |did: &Did| did.action == action;
        self.did().into_iter().filter(is_wanted).map(|did| did.step).collect()
    }

    /// The kinds of the steps, in their order.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.did().into_iter().map(|did| did.action).collect()
    }

    /// The transfers to a target.
    pub(crate) fn sends(&self, place: &str) -> Vec<Did> {
        let is_send = |did: &Did| did.action == "send" && did.place == place;
        self.did().into_iter().filter(is_send).collect()
    }

    /// Bytes moved to a target, by all transfers that were completed.
    pub(crate) fn moved(&self, place: &str) -> u64 {
        self.sends(place).iter().map(|did| did.moved_bytes).sum()
    }

    /// The only transfer to a target.
    pub(crate) fn send(&self, place: &str) -> Did {
        let sends = self.sends(place);
        assert_eq!(sends.len(), 1, "{self:?}");
        sends[0].clone()
    }

    /// Whether the report says so: one of its findings has this severity, and is of this kind or says
    /// this phrase.
    pub(crate) fn finds(&self, severity: &str, phrase: &str) -> bool {
        let json = self.json();
        let findings = json["findings"].as_array().unwrap();
        findings.iter().any(|finding| {
            let says = |key: &str| finding[key].as_str().is_some_and(|text| text.contains(phrase));
            let is_kind = finding["kind"] == phrase;
            finding["severity"] == severity && (is_kind || says("text") || says("next") || says("dataset"))
        })
    }
}

impl Did {
    /// The base of the transfer: its kind and name, or `None` for a full stream.
    pub(crate) fn base(&self) -> Option<(String, String)> {
        let base = self.step["action"]["base"].as_object()?;
        let text = |key: &str| base[key].as_str().unwrap().to_owned();
        Some((text("kind"), text("name")))
    }
}
