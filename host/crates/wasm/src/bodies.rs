//! What a formatter answers, checked and taken over. The same for every interface version.

use std::collections::BTreeSet;

use deltaforge_engine::message::Bodies;
use deltaforge_model::view::{Flat, presence};

use serde::de::IgnoredAny;

use crate::call::Call;
use crate::error::{Ended, cut};

/// Appends the bodies of the rows of a call, one entry a row: presence 1 is a body, 2 none (a tombstone), 0 a row that
/// is among `rejects`. Nothing is appended of an answer that does not fit.
///
/// # Errors
///
/// What does not fit: entries for other rows, ends outside of the data, rows without a body or a reason, more bytes than
/// one call may answer.
pub(crate) fn take(
    call: &mut Call,
    flat: Flat,
    rejects: &[(u32, String)],
    bodies: &mut Bodies,
) -> Result<(), Ended> {
    call.charge_bodies(flat.data.len())?;
    append(flat, rejects, call.view.len(), bodies)
}

/// Checks a formatter's answer whole, then takes it over.
fn append(mut flat: Flat, rejects: &[(u32, String)], rows: usize, bodies: &mut Bodies) -> Result<(), Ended> {
    if flat.present.len() != rows || flat.ends.len() != rows {
        let (present, ends) = (flat.present.len(), flat.ends.len());
        return Err(Ended::Edit(format!(
            "the bodies have {present} presences and {ends} ends for {rows} rows"
        )));
    }
    let mut rejected = vec![false; rows];
    for (row, _) in rejects {
        let slot = rejected.get_mut(*row as usize);
        let slot = slot.ok_or_else(|| Ended::Edit(format!("row {row} is rejected, the batch has {rows}")))?;
        if std::mem::replace(slot, true) {
            return Err(Ended::Edit(format!("row {row} is rejected twice")));
        }
    }
    let mut last = 0;
    for (row, (present, end)) in flat.present.iter().zip(&flat.ends).enumerate() {
        let end = *end as usize;
        let problem = match (*present, rejected[row]) {
            _ if end < last || end > flat.data.len() => "lies outside its data",
            (presence::VALUE | presence::NULL, false) | (presence::NONE, true) => {
                last = end;
                continue;
            }
            (presence::NONE, false) => "has neither a body nor a reason",
            (_, true) => "is rejected and has a body",
            _ => "has no such presence",
        };
        return Err(Ended::Edit(format!("the body of row {row} {problem}")));
    }
    flat.data.truncate(last);
    let (first, before) = (bodies.len(), bodies.buffer().len());
    if before == 0 {
        *bodies.buffer() = flat.data; // often hundreds of kilobytes: moved, not copied
    } else {
        bodies.buffer().extend_from_slice(&flat.data);
    }
    let ends = flat.ends.iter().zip(&flat.present);
    bodies.end_all(ends.map(|(end, present)| (before + *end as usize, *present == presence::VALUE)));
    for (row, reason) in rejects {
        bodies.reject_row(first + *row as usize, cut(reason));
    }
    Ok(())
}

/// Rejects the bodies from `from` on that are not what the formatter says that it makes: who reads them would stumble over
/// them. `who` is the plugin and where it runs.
pub(crate) fn judge(who: &str, content_type: &str, from: usize, bodies: &mut Bodies) {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.ends_with("/json") && !essence.ends_with("+json") {
        return;
    }
    let rejected: BTreeSet<usize> = bodies.rejects().iter().map(|(row, _)| *row).collect();
    for row in (from..bodies.len()).filter(|row| !rejected.contains(row)) {
        let Some(problem) = bodies.get(row).and_then(json_problem) else { continue };
        let reason = format!("{who}: its body is no JSON, and it makes {}: {problem}", cut(essence));
        bodies.reject_row(row, reason);
    }
}

/// Why a body is no JSON.
fn json_problem(body: &[u8]) -> Option<String> {
    if body.is_empty() {
        return Some("it is empty".to_owned());
    }
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Some(format!("byte {} is not UTF-8", error.valid_up_to())),
    };
    serde_json::from_str::<IgnoredAny>(text).err().map(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_what_the_formatter_says_is_rejected() {
        let made: [&[u8]; 7] = [b"{\"a\": 1}", b"", b"\"\xff\"", b"{\"a\":", b"1 2", b" [\n] ", b"{}"];
        let all = || {
            let mut bodies = Bodies::default();
            for body in made {
                bodies.buffer().extend_from_slice(body);
                bodies.end();
            }
            bodies.absent();
            bodies
        };
        for (content_type, rejected) in [
            ("application/json; charset=utf-8", vec![1, 2, 3, 4]),
            ("application/cloudevents+json", vec![1, 2, 3, 4]),
            ("application/avro", vec![]),
        ] {
            let mut bodies = all();
            bodies.reject_row(3, "its own reason");
            judge("it", content_type, 0, &mut bodies);
            let mut rows: Vec<usize> = bodies.rejects().iter().map(|(row, _)| *row).collect();
            rows.sort_unstable();
            assert_eq!(rows, if rejected.is_empty() { vec![3] } else { rejected }, "{content_type}");
        }
        let mut bodies = all();
        judge("it", "application/json", 4, &mut bodies);
        let (row, reason) = &bodies.rejects()[0];
        assert_eq!((*row, bodies.rejects().len()), (4, 1), "those before were judged before");
        assert!(reason.contains("trailing characters at line 1 column 3"), "{reason}");
    }

    fn flat(present: &[u8], ends: &[u32], data: &[u8]) -> Flat {
        Flat { present: present.to_vec(), ends: ends.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn bodies_follow_those_of_earlier_slices() {
        let mut bodies = Bodies::default();
        append(flat(&[1, 2, 0], &[2, 2, 2], b"abrest"), &[(2, "no".to_owned())], 3, &mut bodies).unwrap();
        append(flat(&[1, 0], &[1, 1], b"c"), &[(1, "never".to_owned())], 2, &mut bodies).unwrap();
        let all: Vec<Option<&[u8]>> = (0..5).map(|row| bodies.get(row)).collect();
        assert_eq!(all, [Some(&b"ab"[..]), None, None, Some(b"c"), None]);
        assert_eq!(bodies.rejects(), [(2, "no".to_owned()), (4, "never".to_owned())]);
    }

    #[test]
    fn an_impossible_answer_changes_nothing() {
        for (flat, rejects) in [
            (flat(&[1], &[1], b"a"), &[][..]),
            (flat(&[1, 1], &[2, 1], b"ab"), &[]),
            (flat(&[1, 1], &[1, 3], b"ab"), &[]),
            (flat(&[1, 2], &[1, 9], b"ab"), &[]),
            (flat(&[1, 5], &[1, 1], b"ab"), &[]),
            (flat(&[1, 0], &[1, 1], b"ab"), &[(1, String::new()), (1, String::new())]),
            (flat(&[1, 1], &[1, 1], b"ab"), &[(1, String::new())]),
        ] {
            let mut bodies = Bodies::default();
            assert!(append(flat, rejects, 2, &mut bodies).is_err());
            assert!(bodies.is_empty() && bodies.buffer().is_empty());
        }
    }
}
