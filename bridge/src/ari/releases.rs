//! Which releases of Asterisk are safe and sound enough for a bridge.

/// The first release of each series with the security fixes of ARI (GHSA-wcvv-g26m-wx5c and
/// GHSA-vrfp-mg3q-3959, June 2026). Older ones deadlock or lose hangup causes besides.
const MINIMUM: [Release; 4] = [
    Release(20, 20, 1),
    Release(21, 12, 3),
    Release(22, 10, 1),
    Release(23, 4, 1),
];

/// The same for the certified series: the release that it is made of, and the number behind `cert`.
const MINIMUM_CERTIFIED: [(Release, u32); 2] = [(Release(20, 7, 0), 11), (Release(22, 8, 0), 3)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32, u32);

/// What is to be said about an Asterisk of this release, as `GET /asterisk/info` names it; `None` if
/// it is new enough, or of a form that is not known.
#[must_use]
pub fn complaint(version: &str) -> Option<String> {
    let (base, certified) = match version.split_once("-cert") {
        Some((base, number)) => (base, Some(leading_number(number)?)),
        None => (version, None),
    };
    let base = base.trim_start_matches("certified/");
    let mut numbers = base.split('.').map(leading_number);
    let release = Release(
        numbers.next()??,
        numbers.next().flatten().unwrap_or(0),
        numbers.next().flatten().unwrap_or(0),
    );
    let advice = if let Some(number) = certified {
        let same = |(of, _): &&(Release, u32)| (of.0, of.1) == (release.0, release.1);
        match MINIMUM_CERTIFIED.iter().find(same) {
            Some((_, least)) if number >= *least => return None,
            Some((_, least)) => format!("{}.{}-cert{least}", release.0, release.1),
            None => "a certified release of June 2026".to_owned(),
        }
    } else {
        let series = |least: &&Release| least.0 == release.0;
        match MINIMUM.iter().find(series) {
            Some(least) if release >= *least => return None,
            Some(Release(major, minor, patch)) => format!("{major}.{minor}.{patch}"),
            None if release > MINIMUM[MINIMUM.len() - 1] => return None,
            None => "22.10.1".to_owned(),
        }
    };
    Some(format!(
        "Asterisk {version} lacks security fixes of ARI: upgrade to {advice} or newer"
    ))
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_the_fixes_are_not_complained_about() {
        for version in [
            "20.20.1",
            "20.21.0",
            "22.10.1",
            "22.10.1+dfsg+~cs6.17.60671434-1",
            "22.11.0",
            "23.4.1",
            "24.0.0",
            "20.7-cert11",
            "certified/22.8-cert3",
            // Built from a clone: nothing is known of it.
            "GIT-22-abc",
            "",
        ] {
            assert_eq!(complaint(version), None, "{version}");
        }
    }

    #[test]
    fn older_releases_are_told_what_to_upgrade_to() {
        for (version, advice) in [
            ("20.20.0", "20.20.1"),
            ("20.7.0", "20.20.1"),
            ("22.10.0", "22.10.1"),
            ("22.9.0+dfsg", "22.10.1"),
            ("23.4.0", "23.4.1"),
            ("18.26.4", "22.10.1"),
            ("20.7-cert10", "20.7-cert11"),
            ("18.9-cert17", "a certified release of June 2026"),
        ] {
            let complaint = complaint(version).unwrap();
            assert!(
                complaint.ends_with(&format!("{advice} or newer")),
                "{complaint}"
            );
        }
    }
}
