//! The fake agrees with real pools: the same deeds have the same results on both, and leave the same things behind.
//!
//! The planner's properties are tested on `host::fake`; they are worth as much as its rules are ZFS's.

mod deed;
mod partials;
mod person;
mod program;
mod scenarios;
mod sequences;
mod stage;
mod stream;
mod transfers;
mod view;

use std::env;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use zhaul::model::DatasetName;

use deed::Deed;
use stage::Stage;

/// A place of the scenario's own on both real pools; destroyed in the end.
struct Ground([DatasetName; 2]);

impl Ground {
    fn new(name: &str) -> Self {
        let ground = Self(["ZHAUL_LAB_POOL_PVE0", "ZHAUL_LAB_POOL_NFS8"].map(|variable| {
            let pool = env::var_os(variable).expect("run this with `cargo lab test`");
            DatasetName::new(pool.to_str().unwrap()).unwrap().child(&format!("agree-{name}")).unwrap()
        }));
        ground.clear();
        ground
    }

    fn clear(&self) {
        for root in &self.0 {
            // Holds keep snapshots; a dataset that does not exist is what is wanted.
            let script = "zfs list -Hr -t snapshot -o name \"$1\" | xargs -r -n 1 zfs release keep; \
                          zfs destroy -R \"$1\"";
            let quiet =
                Command::new("sh").args(["-c", script, "sh", root.as_str()]).stderr(Stdio::null()).status();
            quiet.expect("sh can be run");
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Plays `deeds` on fakes and on real pools; the story so far, if they do not agree.
fn disagreement(name: &str, deeds: &[Deed]) -> Option<String> {
    let ground = Ground::new(name);
    let (mut fake, mut real) = (Stage::fake(ground.0.clone()), Stage::real(ground.0.clone()));
    let mut story = format!("{name}: {} deeds\n", deeds.len());
    for (number, deed) in deeds.iter().enumerate() {
        let (on_fake, on_real) = (fake.play(*deed), real.play(*deed));
        writeln!(story, "{number}. {deed:?}: {}", on_real.compared).unwrap();
        if on_fake.compared != on_real.compared {
            for (which, outcome) in [("fake", on_fake), ("real", on_real)] {
                writeln!(story, "  {which}: {} ({})", outcome.compared, outcome.words.trim()).unwrap();
            }
            return Some(story);
        }
        let (fakes, reals) = (fake.show(), real.show());
        if fakes != reals {
            for (which, lines) in [("fake", fakes), ("real", reals)] {
                writeln!(story, "  {which}:\n    {}", lines.join("\n    ")).unwrap();
            }
            return Some(story);
        }
    }
    None
}

fn agree(name: &str, deeds: &[Deed]) {
    if let Some(story) = disagreement(name, deeds) {
        panic!("the fake is not like real pools\n{story}");
    }
}
