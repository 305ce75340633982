//! The permissions that `zfs allow` has granted on one dataset: a copy that continues as a clone gets them again, since
//! a clone has none.

use super::Problem;
use super::zfs_program::ZfsProgram;
use crate::model::DatasetName;

impl ZfsProgram {
    /// Grants on `copy` what is granted on `lineage` itself. A permission that cannot be granted or read is only
    /// logged: the data is complete.
    pub(super) fn copy_delegations(&self, lineage: &DatasetName, copy: &DatasetName) {
        let warn = |problem: &Problem| {
            tracing::warn!("{copy}: the permissions of {lineage} could not all be granted: {problem}");
        };
        let wanted = match self.delegations(lineage) {
            Ok(wanted) => wanted,
            Err(problem) => return warn(&problem),
        };
        if wanted.is_empty() {
            return;
        }
        for grant in &wanted {
            let arguments: Vec<&str> = ["allow"]
                .into_iter()
                .chain(grant.iter().map(String::as_str))
                .chain([copy.as_str()])
                .collect();
            if let Err(problem) = self.run(&arguments) {
                warn(&problem);
            }
        }
        let missing = |found: Vec<Vec<String>>| wanted.iter().find(|grant| !found.contains(grant)).cloned();
        match self.delegations(copy).map(missing) {
            Ok(None) => {}
            Ok(Some(grant)) => warn(&Problem::Other(format!("zfs allow {} is missing", grant.join(" ")))),
            Err(problem) => warn(&problem),
        }
    }

    /// The arguments of `zfs allow` that grant what `dataset` itself grants.
    fn delegations(&self, dataset: &DatasetName) -> Result<Vec<Vec<String>>, Problem> {
        Ok(parse(&self.lines(&["allow", dataset.as_str()])?, dataset))
    }
}

/// Reads what `zfs allow DATASET` prints: its own section comes first, if it has one, and its ancestors' follow.
fn parse(lines: &[String], dataset: &DatasetName) -> Vec<Vec<String>> {
    let title = format!("---- Permissions on {dataset} ");
    let mut lines = lines.iter().map(String::as_str);
    let is_own = |line: &str| line.strip_prefix(&title).is_some_and(|rest| rest.trim_matches('-').is_empty());
    if !lines.next().is_some_and(is_own) {
        return Vec::new();
    }
    let mut grants = Vec::new();
    let mut options: &[&str] = &[];
    for line in lines.take_while(|line| !line.starts_with("---- ")) {
        let Some(entry) = line.strip_prefix('\t') else {
            options = match line {
                "Permission sets:" => &["-s"],
                "Create time permissions:" => &["-c"],
                "Local permissions:" => &["-l"],
                "Descendent permissions:" => &["-d"],
                _ => &[],
            };
            continue;
        };
        let Some(who) = grantee(entry, options.first().copied()) else { continue };
        let options = options.iter().map(|&option| option.to_owned());
        grants.push(options.chain(who).collect());
    }
    grants
}

/// Who is granted what, as arguments: `-u NAME PERMISSIONS`.
fn grantee(entry: &str, option: Option<&str>) -> Option<Vec<String>> {
    let (who, permissions) = match option {
        Some("-c") => return Some(vec![entry.to_owned()]),
        Some(_) | None => entry.rsplit_once(' ')?,
    };
    let mut arguments: Vec<&str> = match who.split_once(' ') {
        Some(("user", name)) => vec!["-u", name],
        Some(("group", name)) => vec!["-g", name],
        _ if who == "everyone" => vec!["-e"],
        _ if option == Some("-s") => vec![who],
        _ => return None,
    };
    arguments.push(permissions);
    Some(arguments.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_zfs_allow_prints_is_read_as_what_grants_it() {
        let text = "---- Permissions on tank8/x ------------------------------------------\n\
            Permission sets:\n\t@set1 hold,send\nCreate time permissions:\n\tcreate,destroy\nLocal permissions:\n\
            \tuser bob destroy\nDescendent permissions:\n\tgroup domain users snapshot\nLocal+Descendent permissions:\n\
            \tuser bob @set1,mount\n\teveryone hold\n---- Permissions on tank8 ----\nLocal permissions:\n\tuser eve destroy\n";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let grants = |name: &str| {
            let grants = parse(&lines, &DatasetName::new(name).unwrap());
            grants.into_iter().map(|grant| grant.join("|")).collect::<Vec<_>>()
        };
        let expected = [
            "-s|@set1|hold,send",
            "-c|create,destroy",
            "-l|-u|bob|destroy",
            "-d|-g|domain users|snapshot",
            "-u|bob|@set1,mount",
            "-e|hold",
        ];
        assert_eq!(grants("tank8/x"), expected);
        assert_eq!(grants("tank8/x/y"), Vec::<String>::new(), "only its ancestors grant something");
    }
}
