//! The schema of a whole document, put together from the catalog's parts.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Block, Catalog, Part};
use crate::spec::{
    API_VERSION, Batch, CommitPolicy, DEFAULT_MEMORY_BYTES, Grant, Journal, KIND, MAX_NAME_LEN,
    MIN_MEMORY_BYTES, Metadata, OnError, SinkFilter, Spill, Start, TableFilter, WrittenLimits,
};

/// Marks a choice with the [`Part`] it chooses.
pub(crate) const PART: &str = "x-part";
/// Keys that are refused with a reason: `{key: reason}`.
pub(crate) const REFUSED: &str = "x-refused";

/// Documented keys of `spec` that this build does not have.
const REFUSED_IN_SPEC: [(&str, &str); 4] = [
    ("schema_sensing", "schema sensing is not in this build yet"),
    ("sharding", "sharding is not in this build yet"),
    ("connection_policy", "connection policies are not in this build yet"),
    ("sink_batch_deadline_secs", "a deadline for all sinks is not in this build; sinks have their own"),
];

/// The schema of one document.
pub(super) fn document(catalog: &Catalog) -> Value {
    let mut assembly = Assembly { generator: SchemaGenerator::default(), defs: Map::new() };
    let metadata = metadata(&mut assembly);
    let spec = spec(catalog, &mut assembly);
    let mut defs = assembly.generator.take_definitions(true);
    defs.append(&mut assembly.defs);
    let mut document = object([
        ("apiVersion", json!({ "const": API_VERSION, "description": "Version of the document's form." })),
        ("kind", json!({ "const": KIND, "description": "Kind of the document." })),
        ("metadata", metadata),
        ("spec", spec),
    ]);
    document["required"] = json!(["metadata", "spec"]);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["title"] = json!("DeltaForge pipeline");
    document["$defs"] = Value::Object(defs);
    document
}

struct Assembly {
    generator: SchemaGenerator,
    defs: Map<String, Value>,
}

impl Assembly {
    fn of<T: JsonSchema>(&mut self, description: &str) -> Value {
        let mut schema = self.generator.subschema_for::<T>().to_value();
        if !description.is_empty() {
            schema["description"] = json!(description);
        }
        schema
    }

    /// The block's schema with its own definitions moved to the document's, under `scope`.
    fn block(&mut self, scope: &str, block: &Block) -> Value {
        let mut schema = block.schema.clone();
        if let Some(map) = schema.as_object_mut() {
            map.shift_remove("$schema");
            map.shift_remove("title");
            if let Some(Value::Object(defs)) = map.shift_remove("$defs") {
                for (name, mut def) in defs {
                    scope_refs(&mut def, scope);
                    self.defs.insert(format!("{scope}.{name}"), def);
                }
            }
        }
        scope_refs(&mut schema, scope);
        schema
    }
}

fn scope_refs(schema: &mut Value, scope: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/$defs/{scope}.{name}");
                        }
                    }
                    value => scope_refs(value, scope),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scope_refs(item, scope)),
        _ => {}
    }
}

fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn name(description: &str) -> Value {
    json!({
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "minLength": 1,
        "maxLength": MAX_NAME_LEN,
        "description": description,
    })
}

fn metadata(assembly: &mut Assembly) -> Value {
    let mut metadata = assembly.of::<Metadata>("");
    if let Some(own) = assembly.generator.definitions_mut().get_mut("Metadata") {
        own["properties"]["name"] = name("Unique name of the pipeline in its host.");
        own["properties"]["tenant"] = name("Who the pipeline belongs to.");
    }
    metadata["description"] = json!("Name, owner and free marks of the pipeline.");
    metadata
}

fn spec(catalog: &Catalog, assembly: &mut Assembly) -> Value {
    let source = source(catalog, assembly);
    let processor = processor(catalog, assembly);
    let sink = sink(catalog, assembly);
    let memory = json!({
        "type": "integer",
        "minimum": MIN_MEMORY_BYTES,
        "default": DEFAULT_MEMORY_BYTES,
        "description": "Most bytes that all batches, messages and queues of the pipeline may hold.",
    });
    let mut spec = object([
        ("source", source),
        (
            "processors",
            json!({ "type": "array", "items": processor, "description": "What happens to changes, in order." }),
        ),
        (
            "sinks",
            json!({ "type": "array", "items": sink, "minItems": 1, "description": "Where changes go." }),
        ),
        ("batch", assembly.of::<Batch>("When a batch is closed.")),
        ("commit_policy", assembly.of::<CommitPolicy>("Whose durability moves the source on.")),
        ("journal", assembly.of::<Journal>("What happens to events that cannot be delivered.")),
        ("max_memory_bytes", memory),
    ]);
    spec["required"] = json!(["source", "sinks"]);
    spec["description"] = json!("What the pipeline does.");
    spec[REFUSED] = REFUSED_IN_SPEC.iter().map(|(key, reason)| ((*key).to_owned(), json!(reason))).collect();
    spec
}

/// An object with `type` and the keys of `block`, merged with `common` ones.
fn merged(mut own: Value, common: Map<String, Value>, required: &[&str]) -> Value {
    let Some(map) = own.as_object_mut() else { return own };
    map.insert("type".to_owned(), json!("object"));
    let choices = map.contains_key("oneOf") || map.contains_key("anyOf") || map.contains_key("allOf");
    let declared = map.entry("properties").or_insert_with(|| json!({}));
    if let Some(declared) = declared.as_object_mut() {
        for (key, schema) in common {
            declared.entry(key).or_insert(schema);
        }
    }
    if choices {
        // Keys that stand in the branches only would be refused here.
        map.shift_remove("additionalProperties");
    } else {
        map.entry("additionalProperties").or_insert(json!(false));
    }
    let own_required = map.entry("required").or_insert_with(|| json!([]));
    if let Some(own_required) = own_required.as_array_mut() {
        for (at, key) in required.iter().enumerate() {
            if !own_required.iter().any(|own| own == key) {
                own_required.insert(at, json!(key));
            }
        }
    }
    own
}

fn choice(part: Part, branches: Vec<Value>) -> Value {
    json!({ "oneOf": branches, PART: part.name() })
}

/// `{type: kind, config: {…}}`.
fn typed(kind: &str, config: Value) -> Value {
    let description = config.get("description").cloned();
    let mut schema = object([("type", json!({ "const": kind })), ("config", config)]);
    schema["required"] = json!(["type", "config"]);
    if let Some(description) = description {
        schema["description"] = description;
    }
    schema
}

fn source(catalog: &Catalog, assembly: &mut Assembly) -> Value {
    let common =
        || Map::from_iter([("id".to_owned(), name("Name of the source in checkpoints and metrics."))]);
    let mut branches = Vec::new();
    for (kind, block) in &catalog.sources {
        let own = assembly.block(&format!("source.{kind}"), block);
        branches.push(typed(kind, merged(own, common(), &["id"])));
    }
    for (alias, of) in &catalog.aliases {
        let Some(block) = catalog.sources.get(&of.kind) else { continue };
        let mut own = assembly.block(&format!("source.{}", of.kind), block);
        for (theirs, ours) in &of.renamed {
            rename(&mut own, ours, theirs);
        }
        branches.push(typed(alias, merged(own, common(), &["id"])));
    }
    let mut source = choice(Part::Source, branches);
    source["description"] = json!("Where changes come from.");
    source
}

fn rename(schema: &mut Value, from: &str, to: &str) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut)
        && let Some(property) = properties.shift_remove(from)
    {
        properties.insert(to.to_owned(), property);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.iter_mut().filter(|key| *key == from).for_each(|key| *key = json!(to));
    }
}

fn sink(catalog: &Catalog, assembly: &mut Assembly) -> Value {
    let mut encoding = object([("type", json!({ "const": "json" }))]);
    encoding["required"] = json!(["type"]);
    let encoding = json!({
        "oneOf": [{ "const": "json" }, encoding],
        "default": "json",
        "description": "The bytes of a message.",
        PART: Part::Encoding.name(),
    });
    let required = json!({
        "type": "boolean",
        "default": true,
        "description": "Whether the commit policies `required` and `quorum` count this sink; `all` waits for every sink, also with `false`.",
    });
    let common = Map::from_iter([
        ("id".to_owned(), name("Name of the sink in checkpoints, metrics and the dead letter queue.")),
        ("envelope".to_owned(), envelope(catalog, assembly)),
        ("encoding".to_owned(), encoding),
        ("required".to_owned(), required),
        ("filter".to_owned(), assembly.of::<SinkFilter>("Which events it gets.")),
        ("spill".to_owned(), assembly.of::<Spill>("Disk room while it falls behind.")),
        ("start".to_owned(), assembly.of::<Start>("Where a sink without a checkpoint begins.")),
    ]);
    let mut branches = Vec::new();
    for (kind, block) in &catalog.sinks {
        let own = assembly.block(&format!("sink.{kind}"), block);
        branches.push(typed(kind, merged(own, common.clone(), &["id"])));
    }
    choice(Part::Sink, branches)
}

fn on_error(assembly: &mut Assembly) -> (String, Value) {
    ("on_error".to_owned(), assembly.of::<OnError>("What happens to rows that it fails on."))
}

fn limits(assembly: &mut Assembly) -> (String, Value) {
    (
        "limits".to_owned(),
        assembly.of::<WrittenLimits>("What it may use for one slice of at most 500 events."),
    )
}

/// What every use of a plugin has.
fn plugin(assembly: &mut Assembly) -> Map<String, Value> {
    let grant = assembly.of::<Grant>("");
    Map::from_iter([
        ("type".to_owned(), json!({ "const": "wasm" })),
        (
            "plugin".to_owned(),
            json!({
                "type": "string",
                "minLength": 1,
                "description": "`name`, `name@1`, `name@1.2.3`, `@tenant/name@1` or `./path.wasm`.",
            }),
        ),
        ("config".to_owned(), json!({ "type": "object", "description": "What the plugin is opened with." })),
        limits(assembly),
        on_error(assembly),
        (
            "grants".to_owned(),
            json!({ "type": "array", "items": grant, "uniqueItems": true, "description": "What it may reach in the host." }),
        ),
        follow(),
    ])
}

fn follow() -> (String, Value) {
    let description = "Whether versions that are published later and that the reference means are swapped in by the host \
                       itself. The reference then begins a version: `name@1` or `name@1.2`.";
    ("follow".to_owned(), json!({ "type": "boolean", "default": false, "description": description }))
}

/// Why `follow` is not for what is part of the host.
fn follows_the_host(kind: &str) -> (String, Value) {
    ("follow".to_owned(), json!(format!("{kind} is part of the host and changes with it")))
}

fn plugin_branch(properties: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "description": "A plugin from the registry or from a file.",
        "properties": properties,
        "required": ["plugin"],
        "additionalProperties": false,
    })
}

fn processor(catalog: &Catalog, assembly: &mut Assembly) -> Value {
    let id = || ("id".to_owned(), name("Name of the stage in metrics and in the REST API."));
    let tables = assembly.of::<TableFilter>("Which rows it sees; the others pass untouched.");
    let tables = || ("tables".to_owned(), tables.clone());
    let mut branches = Vec::new();
    for (kind, block) in &catalog.processors {
        let own = assembly.block(&format!("processor.{kind}"), block);
        let mut common = Map::from_iter([
            ("type".to_owned(), json!({ "const": kind })),
            id(),
            tables(),
            on_error(assembly),
        ]);
        let mut refused = Map::from_iter([
            ("grants".to_owned(), json!(format!("{kind} is part of the host and needs no grants"))),
            ("plugin".to_owned(), json!(format!("a stage is either the built-in {kind} or a plugin"))),
            follows_the_host(kind),
        ]);
        if block.limits.is_some() {
            common.extend([limits(assembly)]);
        } else {
            let reason = format!("{kind} runs natively, where limits cannot be enforced");
            refused.insert("limits".to_owned(), json!(reason));
        }
        let mut branch = if block.nested {
            let optional = block.is_optional();
            common.insert("config".to_owned(), merged(own, Map::new(), &[]));
            let required: &[&str] = if optional { &["type"] } else { &["type", "config"] };
            merged(json!({}), common, required)
        } else {
            merged(own, common, &["type"])
        };
        branch[REFUSED] = Value::Object(refused);
        branches.push(branch);
    }
    let mut properties = plugin(assembly);
    properties.extend([id(), tables()]);
    branches.push(plugin_branch(properties));
    choice(Part::Processor, branches)
}

fn envelope(catalog: &Catalog, assembly: &mut Assembly) -> Value {
    let mut branches = Vec::new();
    let bare: Vec<&String> =
        catalog.envelopes.iter().filter(|(_, block)| block.is_optional()).map(|(kind, _)| kind).collect();
    if !bare.is_empty() {
        branches.push(json!({ "enum": bare }));
    }
    for (kind, block) in &catalog.envelopes {
        let own = assembly.block(&format!("envelope.{kind}"), block);
        let common = Map::from_iter([("type".to_owned(), json!({ "const": kind }))]);
        let mut branch = merged(own, common, &["type"]);
        branch[REFUSED] = Value::Object(Map::from_iter([follows_the_host(kind)]));
        branches.push(branch);
    }
    let mut properties = plugin(assembly);
    let on_error = assembly.of::<OnError>(
        "What happens to rows that it fails on or rejects. Left out: they go to the dead letter queue where there is one, \
         else the pipeline stops there.",
    );
    properties.insert("on_error".to_owned(), on_error);
    branches.push(plugin_branch(properties));
    let mut envelope = choice(Part::Envelope, branches);
    envelope["default"] = json!("native");
    envelope["description"] = json!("The shape of the sink's messages.");
    envelope
}
