//! The triggers that write the log. Pure: a definition in, SQL out.
//!
//! Six a table. A BEFORE trigger *reserves* the sequence number, because an AFTER trigger of the application that
//! changes its own table would otherwise log the second change before the first; the AFTER trigger *fills* it. A
//! statement that was ignored leaves its reservation behind, and readers skip it.
//!
//! `INSERT OR REPLACE` and `UPDATE OR REPLACE` remove rows without firing DELETE triggers (unless
//! `recursive_triggers` is on). So BEFORE copies every row that conflicts with the new one just below its own
//! reservation, and AFTER turns those copies whose row is gone into deletes. When the DELETE triggers did fire, the
//! delete that they logged above the reservation is taken back, since it would undo the change in it.
//!
//! A reservation is filled only by the statement that made it. What an ignored statement left behind may lie below
//! where a reader is already, and a change that is put there would never be seen.
//!
//! Only SQL that old SQLite libraries know: the application's own library runs it.

use crate::log::{Layout, PART, cell_name, op};
use crate::sql::name;
use crate::table::{Definition, Unique, UniquePart};

/// Source time: milliseconds since the Unix epoch.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)";
/// Most cells compared when an AFTER trigger looks for its reservation.
const MATCH_CELLS: usize = 32;

/// The names of a table's six triggers.
pub(crate) fn names(id: i64) -> [String; 6] {
    ["bi", "ai", "bu", "au", "bd", "ad"].map(|suffix| format!("_df_cdc_{id}_{suffix}"))
}

/// The six statements that create a table's triggers, in the order of [`names`].
pub(crate) fn create(id: i64, table: &Definition) -> [String; 6] {
    let layout = Layout { columns: table.columns.len() };
    let sql = Triggers { id, table, quoted: name(&table.name), layout };
    let bodies = [
        ("BEFORE INSERT", sql.before_insert()),
        ("AFTER INSERT", sql.after_insert()),
        ("BEFORE UPDATE", sql.before_update()),
        ("AFTER UPDATE", sql.after_update()),
        ("BEFORE DELETE", sql.before_delete()),
        ("AFTER DELETE", sql.after_delete()),
    ];
    let mut names = names(id).into_iter();
    bodies.map(|(event, body)| {
        let trigger = names.next().expect("six names");
        format!("CREATE TRIGGER {trigger} {event} ON {} BEGIN\n{}END", name(&table.name), body.concat())
    })
}

struct Triggers<'a> {
    id: i64,
    table: &'a Definition,
    /// The table's name as SQL.
    quoted: String,
    layout: Layout,
}

impl Triggers<'_> {
    fn before_insert(&self) -> Vec<String> {
        let cells: Vec<usize> = self.match_cells();
        let columns: String = cells.iter().map(|cell| format!(", {}", cell_name(*cell))).collect();
        let values: String = cells.iter().map(|cell| format!(", {}", self.column("NEW", *cell))).collect();
        let mut body = vec![self.copy_conflicts("", "")];
        body.push(format!(
            "INSERT INTO _df_cdc_log (tab, op, ts, nonce, rid{columns}) VALUES ({}, {}, changes(), random(), {}{values});\n",
            self.id,
            op::INSERTING,
            self.rid("NEW"),
        ));
        body.extend(self.copy_conflicts_wide());
        body
    }

    fn after_insert(&self) -> Vec<String> {
        let mut same: Vec<String> = self
            .match_cells()
            .into_iter()
            .map(|at| {
                let (cell, value) = (cell_name(at), self.column("NEW", at));
                match self.table.columns[at].default {
                    // It was still NULL when the row was reserved.
                    Some(_) => format!("({cell} IS {value} OR {cell} IS NULL)"),
                    None => format!("{cell} IS {value}"),
                }
            })
            .collect();
        if self.table.rowid.is_some() {
            // Before the row is there, its number is -1 when SQLite is to choose it.
            same.push(format!("(rid = -1 OR rid = {})", self.rid("NEW")));
        }
        let slot = self.slot(op::INSERTING, "sequence", &same);
        let slot_and_copies = self.slot(op::INSERTING, "sequence, ts", &same);
        let mut body = self.log_replaced(&slot_and_copies).to_vec();
        body.extend(self.wide("NEW", 0, &slot));
        body.push(self.fill(op::CREATE, "NEW", 0, &slot));
        body
    }

    fn before_update(&self) -> Vec<String> {
        let mut body = vec![self.copy_conflicts(
            &self.key_changed(),
            &format!(" AND NOT ({})", self.is_row(self.alias(), "OLD")),
        )];
        body.push(self.reserve_with_image(op::UPDATING, "changes()"));
        body.extend(self.wide("OLD", 0, "(SELECT max(sequence) FROM _df_cdc_log)"));
        body.extend(self.copy_conflicts_wide());
        body
    }

    fn after_update(&self) -> Vec<String> {
        let slot = self.slot(op::UPDATING, "sequence", &self.same_as_old());
        let slot_and_copies = self.slot(op::UPDATING, "sequence, ts", &self.same_as_old());
        let after = self.layout.after();
        let mut body = self.log_replaced(&slot_and_copies).to_vec();
        body.extend(self.wide("NEW", after, &slot));
        body.push(self.fill(op::UPDATE, "NEW", after, &slot));
        body
    }

    fn before_delete(&self) -> Vec<String> {
        let mut body = vec![self.reserve_with_image(op::DELETING, "NULL")];
        body.extend(self.wide("OLD", 0, "(SELECT max(sequence) FROM _df_cdc_log)"));
        body
    }

    fn after_delete(&self) -> Vec<String> {
        let slot = self.slot(op::DELETING, "sequence", &self.same_as_old());
        vec![format!("UPDATE _df_cdc_log SET op = {}, ts = {NOW} WHERE sequence = {slot};\n", op::DELETE)]
    }

    /// A column of a row, `generated` ones included.
    fn column(&self, row: &str, column: usize) -> String {
        format!("{row}.{}", name(&self.table.columns[column].name))
    }

    fn at(&self, column: &str) -> usize {
        let found = self.table.columns.iter().position(|known| known.name.eq_ignore_ascii_case(column));
        found.expect("a key names columns of its own table")
    }

    /// A row's number; NULL in a table that has none.
    fn rid(&self, row: &str) -> String {
        match (&self.table.rowid_column, &self.table.rowid) {
            (Some(column), _) => format!("{row}.{}", name(column)),
            (None, Some(alias)) => format!("{row}.{alias}"),
            (None, None) => "NULL".into(),
        }
    }

    /// Whether `row` and `other` are one row of the table.
    fn is_row(&self, row: &str, other: &str) -> String {
        if self.table.rowid.is_some() {
            return format!("{} = {}", self.rid(row), self.rid(other));
        }
        let key = self.table.primary.iter().map(|column| (self.at(column), self.table.key_collation(column)));
        key.map(|(at, collation)| format!("{} = {}{collation}", self.column(row, at), self.column(other, at)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// Columns that tell reservations of inserts apart: those under a unique constraint, as long as their values
    /// are known before the row is there.
    fn match_cells(&self) -> Vec<usize> {
        let unique = self.unique_parts().filter_map(|part| part.column.as_ref());
        let mut cells: Vec<usize> = self
            .table
            .primary
            .iter()
            .chain(unique)
            .map(|column| self.at(column))
            .filter(|at| {
                let column = &self.table.columns[*at];
                *at < PART && !column.generated && Some(&column.name) != self.table.rowid_column.as_ref()
            })
            .collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    /// The row of the log holds the old image of the row that the trigger is about.
    fn same_as_old(&self) -> Vec<String> {
        let mut same: Vec<String> = (0..self.layout.columns.min(MATCH_CELLS))
            .map(|cell| format!("{} IS {}", cell_name(cell), self.column("OLD", cell)))
            .collect();
        if self.table.rowid.is_some() {
            same.push(format!("rid = {}", self.rid("OLD")));
        } else {
            let key = self
                .table
                .primary
                .iter()
                .map(|column| self.at(column))
                .filter(|at| (MATCH_CELLS..PART).contains(at));
            same.extend(key.map(|at| format!("{} IS {}", cell_name(at), self.column("OLD", at))));
        }
        same
    }

    /// The newest reservation of this kind that matches. Almost always the last row of the log.
    fn slot(&self, op: i64, what: &str, same: &[String]) -> String {
        let same: String = same.iter().map(|same| format!(" AND {same}")).collect();
        format!(
            "(SELECT {what} FROM _df_cdc_log WHERE tab = {} AND op = {op}{same} ORDER BY sequence DESC LIMIT 1)",
            self.id
        )
    }

    /// Column list and value list of part of an image whose first cell is `first`.
    fn image(&self, row: &str, columns: std::ops::Range<usize>, first: usize) -> (String, String) {
        let names = columns.clone().map(|at| format!(", {}", cell_name(first + at))).collect();
        (names, columns.map(|at| format!(", {}", self.column(row, at))).collect())
    }

    fn reserve_with_image(&self, op: i64, ts: &str) -> String {
        let (columns, values) = self.image("OLD", 0..self.layout.columns.min(PART), 0);
        format!(
            "INSERT INTO _df_cdc_log (tab, op, ts, nonce, rid{columns}) VALUES ({}, {op}, {ts}, random(), {}{values});\n",
            self.id,
            self.rid("OLD"),
        )
    }

    /// The parts of an image that do not lie in the log itself.
    fn wide(&self, row: &str, first: usize, sequence: &str) -> Vec<String> {
        self.layout
            .parts(first)
            .filter(|(part, _)| *part > 0)
            .map(|(part, range)| {
                let (columns, values) = self.image(row, range, first);
                format!("INSERT INTO _df_cdc_log_wide (sequence, part{columns}) VALUES ({sequence}, {part}{values});\n")
            })
            .collect()
    }

    fn fill(&self, op: i64, row: &str, first: usize, slot: &str) -> String {
        let mut set = format!("op = {op}, ts = {NOW}");
        if op == op::CREATE {
            set.push_str(&format!(", rid = {}", self.rid(row)));
        }
        if let Some((_, range)) = self.layout.parts(first).find(|(part, _)| *part == 0) {
            for at in range {
                set.push_str(&format!(", {} = {}", cell_name(first + at), self.column(row, at)));
            }
        }
        format!("UPDATE _df_cdc_log SET {set} WHERE sequence = {slot};\n")
    }

    /// Rows `t` that stand in the way of NEW, each of them once. A query for each way, since for an OR of them newer
    /// planners read the whole table.
    fn conflicts(&self) -> String {
        let mut ways: Vec<String> = Vec::with_capacity(self.table.unique.len() + 1);
        if self.table.rowid.is_some() {
            ways.push(self.is_row(self.alias(), "NEW"));
        }
        ways.extend(self.table.unique.iter().map(|unique| self.equal_parts(unique)));
        if let [only] = &ways[..] {
            return only.clone();
        }
        let key = match self.table.rowid {
            Some(_) => self.rid(self.alias()),
            None => {
                let key = self.table.primary.iter().map(|column| self.column(self.alias(), self.at(column)));
                key.collect::<Vec<_>>().join(", ")
            }
        };
        let found = ways.iter().map(|way| format!("SELECT {key} FROM {} WHERE {way}", self.from()));
        // SELECT *: else the planner uses no index for a key of several columns.
        format!("({key}) IN (SELECT * FROM ({}))", found.collect::<Vec<_>>().join(" UNION "))
    }

    /// What the table is called in conditions: by its own name, since the condition of a partial index may say that,
    /// unless it is called as a trigger calls its rows.
    fn alias(&self) -> &str {
        let own = &self.table.name;
        if own.eq_ignore_ascii_case("new") || own.eq_ignore_ascii_case("old") { "t" } else { &self.quoted }
    }

    /// The table with its [`Triggers::alias`].
    fn from(&self) -> String {
        format!("{} AS {}", self.quoted, self.alias())
    }

    /// What the new row is going to hold in a column: before it is there, `REPLACE` has not yet put a default in the
    /// place of a NULL that is not allowed.
    fn to_be(&self, column: usize) -> String {
        let value = self.column("NEW", column);
        match &self.table.columns[column].default {
            Some(default) => format!("coalesce({value}, {default})"),
            None => value,
        }
    }

    fn unique_parts(&self) -> impl Iterator<Item = &UniquePart> {
        self.table.unique.iter().flat_map(|unique| &unique.parts)
    }

    fn equal_parts(&self, unique: &Unique) -> String {
        let new_row: String = (0..self.table.columns.len())
            .map(|at| format!("{} AS {}", self.to_be(at), name(&self.table.columns[at].name)))
            .collect::<Vec<_>>()
            .join(", ");
        // Only with its own condition is a partial index of use to the planner.
        let rows = unique.rows.iter().map(|rows| format!("({rows})"));
        let equal = unique.parts.iter().map(|part| {
            let collation = name(&part.collation);
            match (&part.column, &part.expression) {
                (Some(column), _) => {
                    let at = self.at(column);
                    format!("{} = {} COLLATE {collation}", self.column(self.alias(), at), self.to_be(at))
                }
                (None, expression) => {
                    let term = expression.as_deref().unwrap_or("NULL");
                    format!("({term}) = (SELECT {term} FROM (SELECT {new_row})) COLLATE {collation}")
                }
            }
        });
        equal.chain(rows).collect::<Vec<_>>().join(" AND ")
    }

    /// Whether an update touches any unique constraint at all; empty when that cannot be said by columns.
    fn key_changed(&self) -> String {
        let by_columns =
            |unique: &Unique| unique.rows.is_none() && unique.parts.iter().all(|p| p.column.is_some());
        if !self.table.unique.iter().all(by_columns) {
            return String::new();
        }
        let mut changed: Vec<String> = Vec::new();
        if self.table.rowid.is_some() {
            changed.push(format!("{} IS NOT {}", self.rid("NEW"), self.rid("OLD")));
        }
        let unique = self.unique_parts().filter_map(|part| part.column.as_ref());
        let mut columns: Vec<usize> =
            self.table.primary.iter().chain(unique).map(|column| self.at(column)).collect();
        columns.sort_unstable();
        columns.dedup();
        changed.extend(columns.into_iter().map(|at| {
            format!("{} IS NOT {} COLLATE BINARY", self.column("NEW", at), self.column("OLD", at))
        }));
        format!("({}) AND ", changed.join(" OR "))
    }

    /// Copies the rows that may be replaced. `changes()` tells the next statement how many there are.
    fn copy_conflicts(&self, when: &str, except: &str) -> String {
        let (columns, values) = self.image(self.alias(), 0..self.layout.columns.min(PART), 0);
        format!(
            "INSERT INTO _df_cdc_log (tab, op, nonce, rid{columns}) SELECT {}, {}, random(), {}{values} FROM {} \
             WHERE {when}({}){except};\n",
            self.id,
            op::REPLACING,
            self.rid(self.alias()),
            self.from(),
            self.conflicts(),
        )
    }

    /// The same rows' parts that do not lie in the log itself. Runs right after the reservation.
    fn copy_conflicts_wide(&self) -> Vec<String> {
        let parts = self.layout.parts(0).filter(|(part, _)| *part > 0);
        parts
            .map(|(part, range)| {
                let (columns, values) = self.image("t", range, 0);
                format!(
                    "INSERT INTO _df_cdc_log_wide (sequence, part{columns}) SELECT l.sequence, {part}{values} \
                     FROM _df_cdc_log AS l JOIN {} AS t ON {} WHERE l.op = {} AND l.tab = {} \
                     AND l.sequence > (SELECT max(sequence) FROM _df_cdc_log) - {} \
                     AND NOT EXISTS (SELECT 1 FROM _df_cdc_log_wide AS w WHERE w.sequence = l.sequence AND w.part = {part});\n",
                    name(&self.table.name),
                    self.is_logged_row("t", "l"),
                    op::REPLACING,
                    self.id,
                    self.table.unique.len() + 2,
                )
            })
            .collect()
    }

    /// Whether the log row `l` is about the table's row `row`.
    fn is_logged_row(&self, row: &str, l: &str) -> String {
        if self.table.rowid.is_some() {
            return format!("{} = {l}.rid", self.rid(row));
        }
        let key = self.table.primary.iter().map(|column| (self.at(column), self.table.key_collation(column)));
        key.map(|(at, collation)| format!("{} = {l}.{}{collation}", self.column(row, at), cell_name(at)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// Turns the copies below the reservation whose row is gone into deletes, and takes back those that DELETE
    /// triggers have logged for the same rows since.
    fn log_replaced(&self, slot_and_copies: &str) -> [String; 2] {
        // CROSS: the planner must begin with the one slot, and not with the whole log.
        let copies = format!(
            "{slot_and_copies} AS slot CROSS JOIN _df_cdc_log AS l ON l.sequence BETWEEN slot.sequence - slot.ts \
             AND slot.sequence - 1"
        );
        let gone = format!(
            "UPDATE _df_cdc_log SET op = {delete}, ts = {NOW} WHERE sequence IN (SELECT l.sequence FROM {copies} \
             WHERE l.op = {replacing}) AND (({same}) OR NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {there}));\n",
            delete = op::DELETE,
            replacing = op::REPLACING,
            same = self.is_logged_row("NEW", "_df_cdc_log"),
            table = name(&self.table.name),
            there = self.is_logged_row("t", "_df_cdc_log"),
        );
        // The first that became of the row after the reservation; a delete of a row that was there again is another one,
        // and so is that of the new row, where it is gone by now.
        let taken_back = format!(
            "UPDATE _df_cdc_log SET op = {deleting} WHERE op = {delete} AND sequence IN (SELECT \
             (SELECT d.sequence FROM _df_cdc_log AS d WHERE d.sequence > slot.sequence AND d.tab = {id} \
             AND d.op IN ({create}, {delete}) AND {same} ORDER BY d.sequence LIMIT 1) FROM {copies} \
             WHERE l.op = {delete} AND (NOT ({new}) OR EXISTS (SELECT 1 FROM {table} AS t WHERE {there})));\n",
            deleting = op::DELETING,
            delete = op::DELETE,
            create = op::CREATE,
            id = self.id,
            same = self.same_logged_row("d", "l"),
            new = self.is_logged_row("NEW", "l"),
            table = name(&self.table.name),
            there = self.is_logged_row("t", "l"),
        );
        [gone, taken_back]
    }

    /// Whether two rows of the log are about one row of the table.
    fn same_logged_row(&self, a: &str, b: &str) -> String {
        if self.table.rowid.is_some() {
            return format!("{a}.rid = {b}.rid");
        }
        let key = self.table.primary.iter().map(|column| cell_name(self.at(column)));
        key.map(|cell| format!("{a}.{cell} = {b}.{cell}")).collect::<Vec<_>>().join(" AND ")
    }
}
