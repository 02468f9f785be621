//! `deltaforge snapshot`: copying existing rows of captured tables again, while their pipeline runs.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::Exit;
use crate::check::print;
use crate::command;
use crate::plugin::remote::{Body, HostArgs, Remote, RemoteError};
use crate::plugin::show;

/// What to do with snapshots of a running pipeline.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Copy the rows of captured tables beside the stream
    Start(StartArgs),
    /// List the snapshots that were asked for, the newest first
    List(ListArgs),
    /// Show one of them, and how far it is
    Status(OneArgs),
    /// Copy no more rows of one until it is resumed; the stream goes on
    Pause(OneArgs),
    /// Go on with one behind the last row that was copied
    Resume(OneArgs),
    /// End one where it is
    Stop(OneArgs),
}

/// Flags of `snapshot start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The pipeline
    pipeline: String,
    /// Tables that it captures, by their full names, such as shop.orders
    #[arg(required = true, value_name = "TABLE")]
    tables: Vec<String>,
    /// Which rows of the table, such as "status = 'open' AND id > 1000"; of one among several tables "TABLE: CONDITION"
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Also where the server is likely to throw its log away before the end of the copy
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `snapshot list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The pipeline
    pipeline: String,
    #[command(flatten)]
    place: Place,
}

/// Flags of commands for one snapshot.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The pipeline
    pipeline: String,
    /// The snapshot, as `snapshot list` names it
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    host: HostArgs,
    /// Answer as JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Place {
    async fn ask(&self, method: Method, path: &[&str], body: Body) -> Result<Value, RemoteError> {
        let remote = Remote::new(&self.host.host, &self.host.token)?;
        Ok(remote.ask(method, path, body).await?.1)
    }
}

impl SnapshotCommand {
    fn place(&self) -> &Place {
        match self {
            Self::Start(args) => &args.place,
            Self::List(args) => &args.place,
            Self::Status(args) | Self::Pause(args) | Self::Resume(args) | Self::Stop(args) => &args.place,
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &SnapshotCommand) -> anyhow::Result<Exit> {
    command::run(command.place().json, "SNAPSHOT_COMMAND_FAILED", async {
        match command {
            SnapshotCommand::Start(args) => start(args).await,
            SnapshotCommand::List(args) => list(args).await,
            SnapshotCommand::Status(args) => one(args, Method::GET, None).await,
            SnapshotCommand::Pause(args) => one(args, Method::POST, Some("pause")).await,
            SnapshotCommand::Resume(args) => one(args, Method::POST, Some("resume")).await,
            SnapshotCommand::Stop(args) => one(args, Method::POST, Some("stop")).await,
        }?;
        Ok(Exit::Ok)
    })
}

async fn start(args: &StartArgs) -> anyhow::Result<()> {
    let conditions = conditions(&args.tables, &args.conditions)?;
    let body = json!({ "tables": args.tables, "where": conditions, "force": args.force });
    let path = ["pipelines", &args.pipeline, "snapshots"];
    let made = args.place.ask(Method::POST, &path, Body::Json(body)).await?;
    if args.place.json {
        return show::json(&made);
    }
    for warning in made["warnings"].as_array().into_iter().flatten() {
        show::step(warning.as_str().unwrap_or_default());
    }
    let id = made["id"].as_str().unwrap_or_default();
    show::step(&format!(
        "asked for; `deltaforge snapshot status {} {id}` shows how far it is",
        args.pipeline
    ));
    print(&format!("{id}\n"))
}

/// The conditions by their tables.
fn conditions(tables: &[String], conditions: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut by_table = Map::new();
    for text in conditions {
        let named = tables.iter().find_map(|table| {
            let condition = text.trim_start().strip_prefix(table.as_str())?.trim_start().strip_prefix(':')?;
            Some((table.as_str(), condition.trim()))
        });
        let (table, condition) = match (named, tables) {
            (Some(named), _) => named,
            (None, [only]) => (only.as_str(), text.trim()),
            (None, _) => anyhow::bail!(
                "--where {text:?} does not say of which table it is: write --where \"{}: …\"",
                tables[0]
            ),
        };
        let before = by_table.insert(table.to_owned(), condition.into());
        anyhow::ensure!(before.is_none(), "{table} has two conditions; join them with AND or OR");
    }
    Ok(by_table)
}

async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let path = ["pipelines", &args.pipeline, "snapshots"];
    let all = args.place.ask(Method::GET, &path, Body::Empty).await?;
    if args.place.json {
        return show::json(&all);
    }
    let mut rows = vec![["ID", "STATE", "ROWS", "TABLES", "ASKED", "ENDED"].map(str::to_owned).to_vec()];
    rows.extend(all.as_array().into_iter().flatten().map(row));
    print(&show::table(&rows))
}

fn row(one: &Value) -> Vec<String> {
    let text = |name: &str, none: &str| one[name].as_str().unwrap_or(none).to_owned();
    vec![
        text("id", ""),
        text("state", ""),
        one["rows"].to_string(),
        tables(one),
        text("asked_at", ""),
        text("ended_at", "-"),
    ]
}

fn tables(one: &Value) -> String {
    let names = one["tables"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

async fn one(args: &OneArgs, method: Method, command: Option<&str>) -> anyhow::Result<()> {
    let path = ["pipelines", &args.pipeline, "snapshots", &args.id];
    let path: Vec<&str> = path.into_iter().chain(command).collect();
    let shown = args.place.ask(method, &path, Body::Empty).await?;
    if args.place.json {
        return show::json(&shown);
    }
    print(&show::pairs(&lines(&shown)))
}

/// What is shown of one.
fn lines(one: &Value) -> Vec<(&'static str, String)> {
    let list = |name: &str, between: &str| {
        let texts = one[name].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).collect::<Vec<_>>().join(between)
    };
    let mut lines = vec![("snapshot", one["id"].as_str().unwrap_or_default().to_owned())];
    let mut line = |name: &'static str, text: String| {
        if !text.is_empty() {
            lines.push((name, text));
        }
    };
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    line("state", text("state"));
    line("why", list("why", "\n"));
    line("tables", tables(one));
    let conditions = one["where"].as_object().into_iter().flatten();
    let conditions =
        conditions.map(|(table, text)| format!("{table}: {}", text.as_str().unwrap_or_default()));
    line("where", conditions.collect::<Vec<_>>().join("\n"));
    line("rows", one["rows"].to_string());
    line("at", [text("table"), list("key", ", ")].join(" ").trim().to_owned());
    line("asked", format!("{} by {}", text("asked_at"), text("by")));
    line("started", text("started_at"));
    line("ended", text("ended_at"));
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_condition_is_for_the_table_that_it_names() {
        let (one, two) = (texts(["shop.a"]), texts(["shop.a", "shop.ab"]));
        let read = |tables: &[String], given: &[String]| conditions(tables, given).map(Value::from);
        assert_eq!(read(&one, &texts(["x = ':'"])).unwrap(), json!({ "shop.a": "x = ':'" }));
        assert_eq!(
            read(&two, &texts(["shop.ab: x > 1", " shop.a :y = 2"])).unwrap(),
            json!({ "shop.ab": "x > 1", "shop.a": "y = 2" })
        );
        assert_eq!(read(&two, &[]).unwrap(), json!({}));
        assert!(read(&two, &texts(["x > 1"])).unwrap_err().to_string().contains("shop.a: …"));
        assert!(read(&one, &texts(["x > 1", "y > 1"])).unwrap_err().to_string().contains("two conditions"));
    }

    #[test]
    fn a_snapshot_is_shown_with_what_is_known_of_it() {
        let whole = json!({
            "id": "17", "state": "running", "tables": ["shop.a", "shop.b"], "where": { "shop.a": "x > 1" }, "rows": 5,
            "table": "shop.a", "key": ["7", "x"], "by": "ops", "asked_at": "then", "started_at": "later",
        });
        let shown = show::pairs(&lines(&whole));
        assert_eq!(
            shown,
            "  snapshot  17\n  state     running\n  tables    shop.a, shop.b\n  where     shop.a: x > 1\n  rows      5\n  \
             at        shop.a 7, x\n  asked     then by ops\n  started   later\n"
        );
        assert_eq!(row(&whole), ["17", "running", "5", "shop.a, shop.b", "then", "-"]);
    }
}
