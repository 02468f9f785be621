//! GTID sets against a naive picture of them, and their text.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Numbers that are few enough to be listed.
const MOST: u64 = 40;

fn interval() -> impl Strategy<Value = Interval> {
    (1..=MOST, 0..8u64).prop_map(|(first, more)| Interval::new(first, (first + more).min(MOST)).unwrap())
}

fn tsid() -> impl Strategy<Value = Tsid> {
    let tag = prop::sample::select(vec!["", "a", "tag_1"]).prop_map(|tag| Tag::new(tag).unwrap());
    (0..3u8, tag).prop_map(|(server, tag)| Tsid { uuid: Uuid([server; 16]), tag })
}

type Model = BTreeSet<(Tsid, u64)>;

fn set() -> impl Strategy<Value = (GtidSet, Model)> {
    prop::collection::vec((tsid(), interval()), 0..12).prop_map(|parts| {
        let mut set = GtidSet::default();
        let mut model = Model::new();
        for (tsid, run) in parts {
            set.insert(tsid, run);
            model.extend((run.first..=run.last).map(|number| (tsid, number)));
        }
        (set, model)
    })
}

fn listed(set: &GtidSet) -> Model {
    for (_, numbers) in set.iter() {
        assert!(!numbers.is_empty());
        assert!(numbers.runs().windows(2).all(|pair| pair[0].last + 1 < pair[1].first), "{numbers}");
    }
    set.iter()
        .flat_map(|(tsid, numbers)| {
            numbers.runs().iter().flat_map(|run| (run.first..=run.last).map(|number| (*tsid, number)))
        })
        .collect()
}

proptest! {
    #[test]
    fn sets_are_what_was_put_into_them((set, model) in set()) {
        prop_assert_eq!(set.count(), model.len() as u128);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(listed(&set), model);
    }

    #[test]
    fn arithmetic_is_that_of_sets((a, in_a) in set(), (b, in_b) in set()) {
        let mut union = a.clone();
        union.union(&b);
        prop_assert_eq!(listed(&union), in_a.union(&in_b).copied().collect::<Model>());
        let mut rest = a.clone();
        rest.subtract(&b);
        prop_assert_eq!(listed(&rest), in_a.difference(&in_b).copied().collect::<Model>());
        prop_assert_eq!(a.is_subset(&b), in_a.is_subset(&in_b));
        prop_assert!(rest.is_subset(&a) && a.is_subset(&union));
        for (tsid, number) in &in_b {
            let gtid = Gtid { tsid: *tsid, number: *number };
            prop_assert_eq!(a.contains(&gtid), in_a.contains(&(*tsid, *number)));
            let mut without = a.clone();
            without.remove(&gtid);
            prop_assert_eq!(listed(&without), in_a.iter().copied().filter(|known| *known != (*tsid, *number)).collect::<Model>());
        }
    }

    #[test]
    fn runs_are_removed_whole(parts in prop::collection::vec(interval(), 0..8), cut in interval()) {
        let mut numbers: Intervals = parts.iter().copied().collect();
        let mut model: BTreeSet<u64> = parts.iter().flat_map(|run| run.first..=run.last).collect();
        numbers.remove(cut);
        model.retain(|number| !(cut.first..=cut.last).contains(number));
        prop_assert_eq!(numbers.count(), model.len() as u64);
        for number in 1..=MOST {
            prop_assert_eq!(numbers.contains(number), model.contains(&number));
        }
    }

    #[test]
    fn text_and_bytes_come_back((set, _) in set()) {
        prop_assert_eq!(set.to_string().parse(), Ok(set.clone()));
        prop_assert_eq!(GtidSet::decode(&set.encode()), Ok(set.clone()));
        let encoded = set.encode();
        for len in 0..encoded.len() {
            prop_assert!(GtidSet::decode(&encoded[..len]).is_err(), "cut at {}", len);
        }
    }

    #[test]
    fn mariadb_state_is_the_last_of_each(
        gtids in prop::collection::vec((0..3u32, 0..3u32, 0..30u64), 0..20),
    ) {
        let gtids: Vec<MariaGtid> =
            gtids.into_iter().map(|(domain, server, sequence)| MariaGtid { domain, server, sequence }).collect();
        let state: MariaState = gtids.iter().copied().collect();
        for domain in 0..3 {
            let of = |server: u32| gtids.iter().filter(move |g| g.domain == domain && g.server == server);
            for server in 0..3 {
                let highest = of(server).map(|g| g.sequence).max();
                for sequence in 0..30 {
                    let gtid = MariaGtid { domain, server, sequence };
                    prop_assert_eq!(state.contains(&gtid), highest.is_some_and(|highest| sequence <= highest));
                }
            }
            let last = gtids.iter().rfind(|g| g.domain == domain);
            let position = state.position().find(|g| g.domain == domain);
            prop_assert_eq!(position.map(|g| g.server), last.map(|g| g.server));
        }
        prop_assert_eq!(state.to_string().parse(), Ok(state.clone()));
        prop_assert_eq!(state.first_beyond(&state), None);
        prop_assert_eq!(state.first_beyond(&MariaState::default()).is_some(), !gtids.is_empty());
    }
}

#[test]
fn text_is_read_as_servers_read_it() {
    let one = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let read = |text: &str| text.parse::<GtidSet>().map(|set| set.to_string());
    let same = [
        (format!("{one}:1-5"), format!("{one}:1-5")),
        (format!(" {} : 5 : 1 - 3 :4,\n", one.to_uppercase()), format!("{one}:1-5")),
        (format!("{one}:Tag:7:1:other:2,,{one}:1"), format!("{one}:1:other:2:tag:1:7")),
        (format!("{one}:5-3"), String::new()),
        (format!("{one}:9223372036854775806"), format!("{one}:9223372036854775806")),
        (String::new(), String::new()),
    ];
    for (text, canonical) in same {
        assert_eq!(read(&text), Ok(canonical), "{text}");
    }
    let long = "t".repeat(33);
    let broken = [
        "x",
        one,
        &format!("{one}:"),
        &format!("{one}:0"),
        &format!("{one}:9223372036854775807"),
        &format!("{one}:1-"),
        &format!("{one}:-1"),
        &format!("{one}:+1"),
        &format!("{one}:tag"),
        &format!("{one}:a:b:1"),
        &format!("{one}:{long}:1"),
        &format!("{one}:tä:1"),
        &format!("{one}x:1"),
        "3e11fa47071ca-11e1-9e33-c80aa9429562:1",
    ];
    for text in broken {
        assert!(read(text).is_err(), "{text}");
    }
    assert!("0-1-5,1-2-18446744073709551615".parse::<MariaState>().is_ok());
    for text in [
        "0-1",
        "0-1-2-3",
        "a-1-2",
        "-1-2",
        "4294967296-1-1",
        "0-4294967296-1",
        "0-1-18446744073709551616",
        "0-+1-1",
    ] {
        assert!(text.parse::<MariaState>().is_err(), "{text}");
    }
}

#[test]
fn only_tagged_sets_have_the_newer_encoding() {
    let set: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3".parse().unwrap();
    let plain = set.encode();
    assert_eq!(plain[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(plain[24..], [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    let tagged: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:t:1-3".parse().unwrap();
    assert_eq!(tagged.encode()[..8], [1, 1, 0, 0, 0, 0, 0, 1]);
    // A count that nothing stands behind takes no memory.
    assert!(GtidSet::decode(&(1u64 << 48).to_le_bytes()).is_err());
    let mut runs = plain[..24].to_vec();
    runs.extend_from_slice(&u64::MAX.to_le_bytes());
    assert!(GtidSet::decode(&runs).is_err());
    let mut doubled = plain.clone();
    doubled[0] = 2;
    doubled.extend_from_slice(&plain[8..]);
    assert!(GtidSet::decode(&doubled).is_err());
}

#[test]
fn strict_mariadb_goes_by_the_domain() {
    // Promoted: server 2 went on where server 1 stopped.
    let ours: MariaState = "0-1-10".parse().unwrap();
    let promoted: MariaState = "0-1-10,0-2-15".parse().unwrap();
    assert_eq!(ours.first_beyond(&promoted), None);
    assert_eq!(ours.first_beyond_strict(&promoted), None);
    // A replica that knows of server 1 only by its own position.
    let replica: MariaState = "0-2-15".parse().unwrap();
    assert_eq!(ours.first_beyond(&replica), Some("0-1-10".parse().unwrap()));
    assert_eq!(ours.first_beyond_strict(&replica), None);
    assert!(ours.first_beyond_strict(&"0-2-9".parse().unwrap()).is_some());
}
