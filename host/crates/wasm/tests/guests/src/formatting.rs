use crate::bindings::deltaforge::plugin::events::Batch;
use crate::bindings::deltaforge::plugin::types::{Failure, Flat, Image};
use crate::bindings::exports::deltaforge::plugin::formatting::{Guest, Messages};
use crate::{Puppet, act, fail};

impl Guest for Puppet {
    fn content_type() -> String {
        match act() {
            "no-mime" => "a\nb".to_owned(),
            _ => "application/json".to_owned(),
        }
    }

    fn format(batch: &Batch) -> Result<Messages, Failure> {
        let rows = batch.len() as usize;
        let mut bodies = Flat { present: Vec::new(), ends: Vec::new(), data: Vec::new() };
        let mut rejects = Vec::new();
        match act() {
            // The native envelope out of ready-made JSON.
            "pass" => {
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
            "traps" => panic!("no envelope today"),
            other => return fail("fatal", other),
        }
        Ok(Messages { bodies, rejects })
    }
}

fn part(flat: &Flat, row: usize) -> Option<&[u8]> {
    let start = if row == 0 { 0 } else { flat.ends[row - 1] as usize };
    (flat.present[row] == 1).then(|| &flat.data[start..flat.ends[row] as usize])
}
