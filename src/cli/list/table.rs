//! Restore points as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::consistency::{Consistency, Level};
use super::unlisted::Unknown;
use crate::cli::render::{Style, aligned, count, duration_text, escape};
use crate::model::{Guid, LastVerified, PointKind, VerifiedBy};
use crate::plan::Place;
use crate::plan::restore::{Copy, GroupPoint, Volume, Volumes, group_points, points};
use crate::policy::{KeepRules, Policy, TargetKind};

/// The policy, the time and the volumes to list.
pub(super) struct View<'a> {
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    pub(super) known: &'a Volumes<'a>,
    /// What nothing is known of on this host.
    pub(super) unknown: &'a [Unknown],
}

/// By place and GUID, the rule that keeps a snapshot there.
type Kept = BTreeMap<(Place, Guid), String>;

impl View<'_> {
    fn places(&self) -> Vec<(Place, String)> {
        let targets = self.policy.targets.iter().map(|target| {
            let word = if matches!(target.kind, TargetKind::Archive(_)) { " (archive)" } else { "" };
            (Place::Target(target.name.clone()), format!("{}{word}", target.name))
        });
        std::iter::once((Place::Source, "here".to_owned())).chain(targets).collect()
    }

    /// Whether it is not known what the place has of one of these.
    fn is_unlisted(&self, place: &Place, volumes: &[&Volume<'_>]) -> bool {
        let is_here = |volume: &Volume<'_>| volume.copies.iter().any(|copy| copy.place == Place::Source);
        let is_unknown = |volume: &&Volume<'_>| {
            !is_here(volume) && self.unknown.iter().any(|unknown| unknown.has(&volume.name))
        };
        if *place == Place::Source {
            return volumes.iter().any(is_unknown);
        }
        self.known.unlisted.iter().any(|(name, _)| Place::Target(name.clone()) == *place)
    }

    fn age(&self, time: Option<Timestamp>) -> String {
        let age = time.and_then(|time| std::time::Duration::try_from(self.now.duration_since(time)).ok());
        age.map_or_else(|| "-".to_owned(), duration_text)
    }

    /// Everything that can be restored.
    pub(super) fn all_text(&self, style: Style) -> String {
        let places = self.places();
        let mut rows = vec![vec!["guest".to_owned(), "dataset".to_owned()]];
        if let Some(heading) = rows.first_mut() {
            heading.extend(places.iter().map(|(_, word)| word.clone()));
        }
        for volume in &self.known.volumes {
            let guest = volume.guest().map_or_else(|| "-".to_owned(), |id| id.to_string());
            let mut row = vec![guest, volume.name.to_string()];
            row.extend(places.iter().map(|(place, _)| self.summary_cell(volume, place)));
            rows.push(row);
        }
        let mut text = aligned(&rows, style);
        self.write_unlisted(&mut text, style);
        text.push_str("\n`zhaul list GUEST` or `zhaul list DATASET` shows the points of one\n");
        text
    }

    fn summary_cell(&self, volume: &Volume<'_>, place: &Place) -> String {
        if self.is_unlisted(place, &[volume]) {
            return "?".to_owned();
        }
        let there = volume.copies.iter().filter(|copy| copy.place == *place && !copy.is_set_aside);
        let snapshots: Vec<_> = there.flat_map(|copy| copy.dataset.history.snapshots()).collect();
        let aside = volume.copies.iter().filter(|copy| copy.place == *place && copy.is_set_aside).count();
        let aside = if aside > 0 { format!(" +{aside} set aside") } else { String::new() };
        match snapshots.last() {
            None if aside.is_empty() => "-".to_owned(),
            None => aside.trim_start().to_owned(),
            Some(newest) => format!("{} to {}{aside}", count(snapshots.len(), "point"), newest.name),
        }
    }

    /// The points of some volumes together.
    pub(super) fn points_text(
        &self,
        volumes: &[&Volume<'_>],
        consistency: &Consistency,
        style: Style,
    ) -> String {
        let mut text = String::new();
        for volume in volumes {
            let _ = writeln!(text, "{}", style.bold(&escape(volume.name.as_str())));
            for copy in &volume.copies {
                text.push_str(&self.verified_lines(copy));
            }
            for copy in volume.copies.iter().filter(|copy| copy.is_set_aside) {
                let _ = writeln!(
                    text,
                    "  set aside on {}: {} ({}); `zhaul list {}`",
                    place_word(&copy.place),
                    escape(copy.dataset.name.as_str()),
                    count(copy.dataset.history.snapshots().count(), "point"),
                    escape(copy.dataset.name.as_str()),
                );
            }
        }
        text.push('\n');
        let places = self.places();
        let kept = self.kept(volumes);
        let mut heading = vec!["point".to_owned(), "taken (UTC)".to_owned(), "age".to_owned()];
        heading.extend(places.iter().map(|(_, word)| word.clone()));
        let has_consistency = Consistency::is_asked_for(volumes);
        heading.extend(has_consistency.then(|| "consistent".to_owned()));
        heading.push("kept by".to_owned());
        let mut rows = vec![heading];
        let groups = group_points(volumes, &self.policy.name_format, &self.policy.time_zone);
        for group in &groups {
            let mut row = self.row(group, volumes, &places);
            if has_consistency {
                let level = consistency.level(group, volumes);
                row.push(level.map_or("-", Level::text).to_owned());
            }
            row.push(rules_text(group, &places, &kept));
            rows.push(row);
        }
        text.push_str(&aligned(&rows, style));
        self.write_unlisted(&mut text, style);
        text
    }

    /// What was compared last, and the last drill.
    fn verified_lines(&self, copy: &Copy<'_>) -> String {
        let marks = [copy.dataset.last_verified(), copy.dataset.last_drill()];
        let line = |last: &LastVerified| {
            let point = copy.dataset.history.find_snapshot(last.guid);
            let point = point
                .map_or_else(|| "a snapshot that is gone".to_owned(), |point| format!("@{}", point.name));
            let how = match last.verification.by {
                VerifiedBy::Content => "verified on",
                VerifiedBy::Drill => "drill from",
            };
            let (place, age) = (place_word(&copy.place), self.age(Some(last.verification.at)));
            format!("  {how} {place}: {}, {age} ago\n", escape(&point))
        };
        marks.iter().flatten().map(line).collect()
    }

    fn row(
        &self,
        group: &GroupPoint<'_>,
        volumes: &[&Volume<'_>],
        places: &[(Place, String)],
    ) -> Vec<String> {
        let time =
            group.time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string());
        let mut row = vec![format!("@{}", group.name), time, self.age(group.time)];
        row.extend(places.iter().map(|(place, _)| {
            if self.is_unlisted(place, volumes) { "?".to_owned() } else { cell(group, volumes, place) }
        }));
        row
    }

    /// Which rule keeps each own snapshot, here and on the backups.
    fn kept(&self, volumes: &[&Volume<'_>]) -> Kept {
        let mut kept = Kept::new();
        for volume in volumes {
            for copy in volume.copies.iter().filter(|copy| !copy.is_set_aside) {
                let rules = match &copy.place {
                    Place::Source => Some(self.policy.keep_at_source),
                    Place::Target(name) => self.rules_of(name),
                };
                let format = &self.policy.name_format;
                let mut own: Vec<_> = copy
                    .dataset
                    .history
                    .snapshots()
                    .filter_map(|point| Some((format.time(&point.name)?, point.guid)))
                    .collect();
                own.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
                let times: Vec<Timestamp> = own.iter().map(|(time, _)| *time).collect();
                let words: Vec<String> = match rules {
                    None => own.iter().map(|_| "for ever".to_owned()).collect(),
                    Some(rules) => rules
                        .select(&times, &self.policy.time_zone, self.now)
                        .into_iter()
                        .map(|keep| keep.map_or_else(|| "no rule".to_owned(), |keep| keep.to_string()))
                        .collect(),
                };
                for ((_, guid), word) in own.into_iter().zip(words) {
                    kept.insert((copy.place.clone(), guid), word);
                }
            }
        }
        kept
    }

    /// The rules of a backup; an archive has none.
    fn rules_of(&self, name: &crate::model::TargetName) -> Option<KeepRules> {
        let target = self.policy.targets.iter().find(|target| target.name == *name)?;
        match &target.kind {
            TargetKind::Backup(rules) => Some(rules.keep),
            TargetKind::Archive(_) => None,
        }
    }

    fn write_unlisted(&self, text: &mut String, style: Style) {
        for (name, why) in &self.known.unlisted {
            let _ =
                writeln!(text, "{} {name} could not be listed: {}", style.yellow("warning:"), escape(why));
        }
        for unknown in self.unknown {
            let _ = writeln!(text, "{} {}", style.yellow("warning:"), unknown.lines());
        }
    }

    /// [`View::all_text`] for programs.
    pub(super) fn all_json(&self) -> Value {
        let volumes = self.known.volumes.iter().map(|volume| {
            let copies = volume.copies.iter().map(|copy| {
                let newest = copy.dataset.history.newest_snapshot().map(|point| point.name.clone());
                json!({
                    "place": place_word(&copy.place), "dataset": copy.dataset.name,
                    "set_aside": copy.is_set_aside, "archive": copy.is_archive,
                    "snapshots": copy.dataset.history.snapshots().count(), "newest": newest,
                    "verified": copy.dataset.last_verified().map(|last| json!(last.verification)),
                    "drill": copy.dataset.last_drill().map(|last| json!(last.verification)),
                })
            });
            json!({
                "dataset": volume.name, "guest": volume.guest(), "copies": copies.collect::<Vec<_>>(),
            })
        });
        json!({ "at": self.now, "datasets": volumes.collect::<Vec<_>>(), "unlisted": self.unlisted_json() })
    }

    fn unlisted_json(&self) -> Value {
        let targets = self.known.unlisted.iter();
        let targets = targets.map(|(name, why)| json!({ "place": name, "target": name, "why": why }));
        let here = self.unknown.iter().map(|unknown| {
            json!({ "place": "here", "dataset": unknown.dataset, "why": unknown.why, "next": unknown.next })
        });
        Value::Array(targets.chain(here).collect())
    }

    /// [`View::points_text`] for programs.
    pub(super) fn points_json(&self, volumes: &[&Volume<'_>], consistency: &Consistency) -> Value {
        let kept = self.kept(volumes);
        let format = &self.policy.name_format;
        let of_volume = |volume: &&Volume<'_>| {
            let points = points(volume, format, &self.policy.time_zone).into_iter().map(|point| {
                let found = point.found.iter().map(|found| {
                    json!({
                        "place": place_word(&found.copy.place), "dataset": found.copy.dataset.name,
                        "name": found.point.name, "kind": found.point.kind, "set_aside": found.copy.is_set_aside,
                        "kept_by": kept.get(&(found.copy.place.clone(), point.guid)),
                    })
                });
                json!({
                    "guid": point.guid, "name": point.name, "time": point.time, "found": found.collect::<Vec<_>>(),
                    "consistent": consistency.word(point.guid),
                })
            });
            json!({ "dataset": volume.name, "guest": volume.guest(), "points": points.collect::<Vec<_>>() })
        };
        let groups = group_points(volumes, format, &self.policy.time_zone).into_iter().map(|group| {
            let places = group.places().into_iter().map(|place| {
                json!({ "place": place_word(&place), "complete": group.is_complete_at(&place), "missing": missing(&group, volumes, &place) })
            });
            json!({
                "name": group.name, "time": group.time, "places": places.collect::<Vec<_>>(),
                "consistent": consistency.level(&group, volumes).and_then(Level::word),
            })
        });
        json!({
            "at": self.now, "points": groups.collect::<Vec<_>>(),
            "datasets": volumes.iter().map(of_volume).collect::<Vec<_>>(), "unlisted": self.unlisted_json(),
        })
    }
}

/// Which rule of each place keeps the points of one moment.
fn rules_text(group: &GroupPoint<'_>, places: &[(Place, String)], kept: &Kept) -> String {
    let rule = |(place, _): &(Place, String)| {
        let mut guids = group.volumes.iter().flatten().map(|point| point.guid);
        let rule = guids.find_map(|guid| kept.get(&(place.clone(), guid)))?;
        Some(format!("{}: {rule}", place_word(place)))
    };
    places.iter().filter_map(rule).collect::<Vec<_>>().join(", ")
}

fn place_word(place: &Place) -> String {
    match place {
        Place::Source => "here".to_owned(),
        Place::Target(name) => name.to_string(),
    }
}

/// The volumes of a group that have no snapshot of this moment in `place`.
fn missing(group: &GroupPoint<'_>, volumes: &[&Volume<'_>], place: &Place) -> Vec<String> {
    let is_there = |at: usize| {
        group.volumes.get(at).and_then(Option::as_ref).is_some_and(|point| point.snapshot_at(place).is_some())
    };
    let missing = volumes.iter().enumerate().filter(|(at, _)| !is_there(*at));
    missing.map(|(_, volume)| volume.name.last().to_owned()).collect()
}

/// The cell for the snapshots that a place has of one moment.
fn cell(group: &GroupPoint<'_>, volumes: &[&Volume<'_>], place: &Place) -> String {
    let found: Vec<_> = group
        .volumes
        .iter()
        .flatten()
        .flat_map(|point| &point.found)
        .filter(|found| found.copy.place == *place)
        .collect();
    let Some(first) = found.iter().find(|found| found.point.is_snapshot()) else {
        let has_bookmark = found.iter().any(|found| found.point.kind == PointKind::Bookmark);
        return if has_bookmark { "bookmark only".to_owned() } else { "-".to_owned() };
    };
    let name =
        if first.point.name == group.name { "yes".to_owned() } else { format!("@{}", first.point.name) };
    let aside = if first.copy.is_set_aside { " (set aside)" } else { "" };
    let missing = missing(group, volumes, place);
    if missing.is_empty() {
        return format!("{name}{aside}");
    }
    format!("{name}{aside}, without {}", missing.join(" and "))
}
