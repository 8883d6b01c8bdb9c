//! The simulation notices what it is there to notice, and a seed replays.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::rules::{Rule, break_rule};
use simulation::plan::{Plan, Trouble};
use simulation::{run, run_plan};

/// Calls in a seed.
const CALLS: usize = 100;
/// Seeds in which a broken rule has to be noticed.
const SEEDS: u64 = 20_000;

/// What provokes the breach of a rule most.
fn plan_for(rule: Rule) -> Plan {
    match rule {
        // What is seen of a channel is hardly ever out of date otherwise.
        Rule::LookNotStale => Plan::of_stale_looks(CALLS),
        // The sweeper's end of a call seldom meets a bridge that knows a later one.
        Rule::SaveLiveOnly => Plan::of_foreign_ends(CALLS),
        _ => Plan::draw(CALLS),
    }
}

/// The first seed in which the rule's breach is noticed, and as what.
fn noticed(rule: Rule) -> Option<(u64, String)> {
    break_rule(Some(rule));
    let found = (0..SEEDS).find_map(|seed| {
        let outcome = run_plan(seed, || plan_for(rule));
        let first = outcome.violations.into_iter().next()?;
        Some((seed, first))
    });
    break_rule(None);
    found
}

#[test]
fn every_broken_rule_is_noticed() {
    let next = AtomicUsize::new(0);
    let unnoticed = Mutex::new(Vec::new());
    let work = || {
        while let Some(rule) = Rule::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            match noticed(*rule) {
                Some((seed, violation)) => {
                    let (_, what) = violation.split_once(": ").unwrap_or_default();
                    let what: String = what.chars().take(70).collect();
                    println!("{rule:?}: noticed in seed {seed}: {what}");
                }
                None => unnoticed.lock().unwrap().push(*rule),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let unnoticed = unnoticed.into_inner().unwrap();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
    assert!(Rule::ALL.len() >= 30);
}

/// However long nobody can be called, every call that may wait is dialled once.
#[test]
fn an_outage_of_half_an_hour_loses_no_call() {
    for trouble in [
        Trouble::TrunkOffline,
        Trouble::RefusesAll,
        Trouble::RefusesCalls,
    ] {
        for seed in 0..20 {
            let plan = || Plan::of_outage(CALLS, trouble, Duration::from_mins(30));
            let outcome = run_plan(seed, plan);
            assert_eq!(outcome.violations, [""; 0], "{trouble:?}, seed {seed}");
            assert_eq!(outcome.endings.get("failed expired"), None, "{trouble:?}");
            assert!(
                outcome.invites > CALLS / 2,
                "{trouble:?}: {}",
                outcome.invites
            );
        }
    }
}

/// The plans that provoke the breach of one rule accuse nobody who keeps it.
#[test]
fn a_plan_for_one_rule_accuses_nobody_who_keeps_it() {
    for rule in [Rule::LookNotStale, Rule::SaveLiveOnly] {
        for seed in 0..100 {
            let outcome = run_plan(seed, || plan_for(rule));
            assert_eq!(outcome.violations, [""; 0], "{rule:?}, seed {seed}");
        }
    }
}

/// The bridge was killed shortly after it could have hung up again, and was away for a minute and a half.
#[test]
fn a_limit_is_not_held_against_a_bridge_that_is_gone() {
    assert_eq!(run(20_629, CALLS, false).violations, [""; 0]);
}

#[test]
fn a_seed_replays() {
    for seed in 0..40 {
        let (once, again) = (run(seed, CALLS, false), run(seed, CALLS, false));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.endings, again.endings, "seed {seed}");
    }
}

#[test]
fn different_seeds_differ() {
    assert_ne!(run(1, CALLS, false).trace, run(2, CALLS, false).trace);
}
