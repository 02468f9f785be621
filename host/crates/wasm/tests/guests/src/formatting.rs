use crate::bindings::deltaforge::plugin::events::Batch;
use crate::bindings::deltaforge::plugin::types::{Failure, Flat, Image};
use crate::bindings::exports::deltaforge::plugin::formatting::{Guest, Messages};
use crate::{Puppet, act, act_on, fail, flood_log, grow, recurse, spin, trap_deep_inside};

impl Guest for Puppet {
    fn content_type() -> String {
        match act() {
            "no-mime" => "a\nb".to_owned(),
            "mime-traps" => panic!("told to"),
            _ => "application/json".to_owned(),
        }
    }

    fn format(batch: &Batch) -> Result<Messages, Failure> {
        let rows = batch.len() as usize;
        let mut bodies = Flat { present: Vec::new(), ends: Vec::new(), data: Vec::new() };
        let mut rejects = Vec::new();
        match act_on(batch) {
            // The native envelope out of ready-made JSON.
            name @ ("pass" | "floods-log") => {
                if name == "floods-log" {
                    flood_log();
                }
                let (before, after) = (batch.json_rows(Image::Before), batch.json_rows(Image::After));
                let origins = batch.json_origins();
                let size = before.data.len() + after.data.len() + origins.data.len() + rows * 40;
                bodies.data.reserve(size);
                for row in 0..rows {
                    bodies.data.extend_from_slice(b"{\"before\":");
                    bodies.data.extend_from_slice(part(&before, row).unwrap_or(b"null"));
                    bodies.data.extend_from_slice(b",\"after\":");
                    bodies.data.extend_from_slice(part(&after, row).unwrap_or(b"null"));
                    bodies.data.push(b',');
                    bodies.data.extend_from_slice(&part(&origins, row).expect("every row has one")[1..]);
                    bodies.present.push(1);
                    bodies.ends.push(bodies.data.len() as u32);
                }
            }
            "tombstones" => {
                for row in 0..rows {
                    bodies.present.push(if row % 2 == 0 { 2 } else { 0 });
                    bodies.ends.push(0);
                    if row % 2 == 1 {
                        rejects.push((row as u32, "odd".repeat(2000)));
                    }
                }
            }
            "short" => {}
            "outside" => {
                bodies.present = vec![1; rows];
                bodies.ends = vec![7; rows];
            }
            "silent" => {
                bodies.present = vec![0; rows];
                bodies.ends = vec![0; rows];
            }
            "rejects-nobody" => {
                bodies.present = vec![2; rows];
                bodies.ends = vec![0; rows];
                rejects.push((rows as u32, "there is no such row".to_owned()));
            }
            "oversize" => {
                bodies.data = vec![b'x'; 40 << 20];
                bodies.present = vec![1; rows];
                bodies.ends = vec![40 << 20; rows];
            }
            "edits" => {
                batch.drop_row(0);
            }
            "edits-json" => {
                let _ = batch.replace_json("[]");
            }
            "asks-nowhere" => {
                std::hint::black_box(batch.origin(batch.len() + 7));
            }
            "gets-no-column" => {
                std::hint::black_box(batch.get(0, Image::After, 4711));
            }
            "back-to-front" => {
                bodies.present = vec![1; rows];
                bodies.ends = (0..rows as u32).rev().collect();
                bodies.data = vec![b'x'; rows];
            }
            "wild-presence" => {
                bodies.present = vec![9; rows];
                bodies.ends = vec![0; rows];
            }
            "rejects-twice" => {
                bodies.present = vec![0; rows];
                bodies.ends = vec![0; rows];
                rejects = vec![(0, "once".to_owned()), (0, "twice".to_owned())];
            }
            "traps" => trap_deep_inside(batch.len()),
            "loops" => spin(),
            "recurses" => {
                std::hint::black_box(recurse(rows as u64));
            }
            "grows" => grow(),
            other => return fail("fatal", other),
        }
        Ok(Messages { bodies, rejects })
    }
}

fn part(flat: &Flat, row: usize) -> Option<&[u8]> {
    let start = if row == 0 { 0 } else { flat.ends[row - 1] as usize };
    (flat.present[row] == 1).then(|| &flat.data[start..flat.ends[row] as usize])
}
