//! The mark of what an application wrote into a transactional outbox: the `outbox` processor works on what bears it.

use std::path::Path;

use deltaforge_engine::batcher::Batcher;
use deltaforge_model::{OUTBOX_MARK, Side};

use crate::config::SqliteConfig;

/// Says of the event begun last what few have: its headers, and whether its table is an outbox.
pub(crate) fn side(batcher: &mut Batcher, is_outbox: bool, headers: Vec<(String, String)>) {
    if is_outbox || !headers.is_empty() {
        let tags = is_outbox.then(|| vec![OUTBOX_MARK.to_owned()]);
        batcher.builder.side(Side { tags, headers, ..Side::default() });
    }
}

/// Marks the event begun last if its table is an outbox.
pub(crate) fn mark(batcher: &mut Batcher, is_outbox: bool) {
    side(batcher, is_outbox, Vec::new());
}

/// Warns where outboxes are asked for and no table is one.
pub(crate) fn warn_of_none(config: &SqliteConfig, path: &Path, has_any: bool) {
    if let Some(outbox) = config.outbox.as_ref().filter(|_| !has_any) {
        tracing::warn!(path = %path.display(), outbox = ?outbox.tables, "no outbox is there yet; its rows are marked once it is created");
    }
}
