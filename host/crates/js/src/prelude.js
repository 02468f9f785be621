// What a script sees of a batch: lazy events.
//
// An event, its `source` and its row images are records: a Proxy over a plain object. Until somebody enumerates a
// record, reads come from column arrays, which are fetched whole, once, when first touched; writes go into the same
// arrays and note the row. Enumeration (spread, keys, JSON.stringify, for-in) and reflection first fill the plain
// object, and from then on the engine reads that without a trap. The column arrays are the one truth: after the
// call the host is told the noted cells, the tags, the order and the new events, and nothing else.
//
// A group is a set of records of one shape in one batch: 0 the events, 1 their `source`, then (table, image).
((ops) => {
"use strict";
const { op_df_plan, op_df_shape, op_df_tagsets, op_df_extras, op_df_column, op_df_set, op_df_delete, op_df_tags,
  op_df_keep, op_df_new, op_df_log } = ops;
const { parse, stringify } = JSON, { isArray } = Array, { keys: keysOf, getOwnPropertyNames: namesOf } = Object;
const define = Object.defineProperty, become = Object.setPrototypeOf, hasOwn = Object.hasOwn;
const R = { __proto__: null };
for (const k of namesOf(Reflect)) R[k] = Reflect[k];
const LATE = "this event belongs to an earlier batch: keep a copy, such as JSON.parse(JSON.stringify(event))";
const HOT = 32;                            // then one batch finds out anew
const LAZY = Symbol("lazy"), GROUP = Symbol("group"), SEP = "\x1f";

// ---- columns, groups, records ----

class Shape {                             // the columns of one table version, made once
  constructor(names, load) {
    this.keys = names = names.map((k) => keysOf({ [k]: 0 })[0]);      // interned: the same string as in the script
    this.hot = 0;                         // for how many more batches records are made whole at once
    const q = names.map((k) => stringify(k)), at = (o, j) => o + "[" + q[j] + "]";
    const put = (j) => names[j] === "__proto__" ? `define(t, ${q[j]}, { value: v, writable: true, enumerable: true, configurable: true })` : `${at("t", j)} = v`;
    this.fill = new Function("define", "return (t, c, i) => { let v, n = 0;" + q.map((_, j) =>
      `if ((v = ${at("c", j)}[i]) !== undefined) { ${put(j)}; n++; }`).join("\n") + "return n; }")(define);
    this.diff = new Function("r", "c", "i", "set", "gone", "let v, w, n = 0;" + q.map((name, j) =>
      `v = ${at("r", j)}; w = ${at("c", j)}[i];
       if (v !== w) { if (v !== undefined) { n++; set.push(${name}, v); } else gone.push(${name}); }
       else if (v !== undefined) n++;`).join("\n") + "return n;");
    this.proto = { __proto__: null };     // getters that load a column; the loaded array shadows its getter
    names.forEach((name, at) => define(this.proto, name, { get() { return putColumn(this, name, load(this[GROUP], at, name)); } }));
  }
}
const putColumn = (c, name, value) => (define(c, name, { value, writable: true, configurable: true, enumerable: true }), value);

function fetched(g, at, k) {              // a column from the host: values, then 0 or what is special
  if (g.b === null) throw new Error(LATE);
  const text = op_df_column(g.id, at);
  if (text === "") return new Array(g.b.n);
  const values = parse(text), more = values[values.length - 1];
  values.length--;
  if (more !== 0) {
    if (more.same !== undefined) return new Array(more.same).fill(values[0]);
    for (let j = 0; j < more.absent.length; j++) values[more.absent[j]] = undefined;
    if (more.nested) (g.nested ??= []).push(k);
  }
  return values;
}

class Group {                             // the records of one shape in one batch
  constructor(b, id, shape, rows) {
    this.b = b; this.id = id; this.shape = shape; this.keys = shape.keys; this.rows = rows;
    this.hot = shape.hot > 0;             // lately nearly all were enumerated: make them whole at once
    this.filled = 0;
    this.c = { __proto__: shape.proto, [GROUP]: this };
    this.w = { __proto__: null };         // column -> rows written
    this.nested = null;                   // columns with objects from the host in them
    this.seen = null;                     // objects handed out: [column, row, value, its text before]
  }
  open(k) {                               // the first write to a column
    if (this.b === null) throw new Error(LATE);
    if (this.c[k] === undefined) { this.keys = [...this.keys, k]; putColumn(this.c, k, []); }      // a new key
    return this.w[k] = [];
  }
  copy(t, i) {                            // writes a row into a plain object; answers how many keys it has
    const { c, shape } = this;
    let n = shape.fill(t, c, i);
    const { keys, nested } = this;
    for (let j = shape.keys.length; j < keys.length; j++) { const k = keys[j], v = c[k][i]; if (v !== undefined) { t[k] = v; n++; } }
    if (nested !== null) for (let j = 0; j < nested.length; j++) { const k = nested[j], v = c[k][i]; if (typeof v === "object" && v !== null) this.lend(k, i, v); }
    return n;
  }
  whole(i) {                              // a record that is filled from the start
    const t = {};
    this.copy(t, i);
    return new Proxy(t, new Filled(this.c, i));
  }
  lend(k, i, v) {                         // an object from the host goes out: find changes inside it afterwards
    if (this.b === null || this.nested === null || !this.nested.includes(k)) return v;
    const seen = this.seen ??= new Map(), at = k + SEP + i;
    if (!seen.has(at)) seen.set(at, [k, i, v, stringify(v)]);
    return v;
  }
}

class Record {                            // the handler of a record that nobody has enumerated yet
  constructor(c, i) { this.c = c; this.i = i; }
  get(t, k) {
    const c = this.c[k];
    if (c === undefined) return t[k];
    const v = c[this.i];
    return typeof v === "object" && v !== null ? this.c[GROUP].lend(k, this.i, v) : v === undefined ? t[k] : v;
  }
  set(t, k, v) {
    if (v === undefined || typeof k === "symbol" || k === "__proto__") { this.fill(t); return this.set(t, k, v); }
    this.note(k, v);
    return true;
  }
  note(k, v) {                            // undefined: the key is gone
    const c = this.c, g = c[GROUP], w = g.w?.[k] ?? g.open(k);
    c[k][this.i] = v;
    w.push(this.i);
  }
  deleteProperty(t, k) { if (this.c[k] !== undefined) this.note(k, undefined); return true; }
  has(t, k) { const c = this.c[k]; return c !== undefined && c[this.i] !== undefined || R.has(t, k); }
  ownKeys(t) { return this.fill(t) ?? R.ownKeys(t); }
  getOwnPropertyDescriptor(t, k) { this.fill(t); return R.getOwnPropertyDescriptor(t, k); }
  defineProperty(t, k, d) { this.fill(t); return this.defineProperty(t, k, d); }
  preventExtensions(t) { this.fill(t); return R.preventExtensions(t); }
  fill(t) {                               // from here on the engine reads the plain object; answers its keys where known
    const g = this.c[GROUP], n = g.copy(t, this.i);
    g.filled++;
    become(this, Filled.prototype);
    return n === g.keys.length ? g.keys : undefined;
  }
}
class Filled {                            // its handler afterwards: only writes are seen
  constructor(c, i) { this.c = c; this.i = i; }
  set(t, k, v) {
    if (!R.set(t, k, v)) return false;
    if (typeof k !== "symbol") this.note(k, v);
    return true;
  }
  deleteProperty(t, k) {
    if (!R.deleteProperty(t, k)) return false;
    if (typeof k !== "symbol" && this.c[k] !== undefined) this.note(k, undefined);
    return true;
  }
  defineProperty(t, k, d) {
    if (!R.defineProperty(t, k, d)) return false;
    if (typeof k !== "symbol") this.note(k, t[k]);
    return true;
  }
}
Filled.prototype.note = Record.prototype.note;

class Event {                             // not `extends`: a constructor that calls another costs twice as much
  constructor(c, i) { this.c = c; this.i = i; }
  get(t, k) {
    const c = this.c[k];
    if (c === undefined) return t[k];
    const v = c[this.i];
    return v === LAZY ? make(this.c, k, this.i) : v === undefined ? t[k] : v;
  }
  has(t, k) { if (k === "tags") this.get(t, k); return super.has(t, k); }
  fill(t) { makeAll(this.c, this.i); return super.fill(t); }
}
become(Event.prototype, Record.prototype);
function make(c, k, i) {                  // what an event holds is made when first touched
  const b = c[GROUP].b;
  if (b === null) throw new Error(LATE);
  if (k === "tags") {
    const v = b.tagset(i)?.slice();
    if (v !== undefined) b.lent.push(i);
    return c[k][i] = v;
  }
  const s = b.head + i * 5;
  let id = 1, row = i;
  if (k === "after") { id = b.plan[s]; row = b.plan[s + 1]; } else if (k === "before") { id = b.plan[s + 2]; row = b.plan[s + 3]; }
  if (id < 0) return c[k][i] = null;
  const g = b.groups[id];
  return c[k][i] = g.hot ? g.whole(row) : new Proxy({}, new Record(g.c, row));
}
function makeAll(c, i) {
  for (let j = 0; j < LAZY_KEYS.length; j++) { const k = LAZY_KEYS[j]; if (c[k][i] === LAZY) make(c, k, i); }
}

const asText = (v, what) => {
  if (v === undefined || v === null) return undefined;
  if (typeof v === "object" || typeof v === "function" || typeof v === "symbol") throw new TypeError(what + " must be text");
  return String(v);
};
function route(to) {                      // replaces the event's routing as a whole
  if (to === null || typeof to !== "object") throw new TypeError("route() takes { topic, key, headers }");
  const routing = {}, topic = asText(to.topic, "route(): topic"), key = asText(to.key, "route(): key"), { headers } = to;
  if (topic !== undefined) routing.topic = topic;
  if (key !== undefined) routing.key = key;
  if (headers !== undefined && headers !== null) {
    if (typeof headers !== "object") throw new TypeError("route(): headers must be an object");
    routing.headers = {};
    for (const k of keysOf(headers)) { const v = asText(headers[k], "route(): header " + k); if (v !== undefined) routing.headers[k] = v; }
  }
  this.routing = routing;
}

Object.freeze(route);                     // one function for all events of all scripts

const LAZY_KEYS = ["before", "after", "source", "tags"];
const EVENT_KEYS = ["before", "after", "source", "op", "ts_ms", "transaction", "event_id", "tenant_id",
  "schema_version", "ddl", "message", "tags", "synthetic", "table", "routing", "route"];      // the host knows them by number
const eventShape = new Shape(EVENT_KEYS, (g, at, k) => {
  if (g.b === null) throw new Error(LATE);
  switch (k) {
    case "before": case "after": case "source": case "tags": return new Array(g.b.n).fill(LAZY);
    case "route": return new Array(g.b.n).fill(route);
    default: {
      const values = fetched(g, at, k);   // objects among them are few and go out at once
      if (g.nested?.includes(k)) for (let i = 0; i < values.length; i++) if (typeof values[i] === "object") g.lend(k, i, values[i]);
      return values;
    }
  }
});
const shapes = [eventShape];
const shapeOf = (id) => shapes[id] ??= new Shape(parse(op_df_shape(id)), fetched);

class Batch {
  constructor() {
    const plan = this.plan = new Int32Array(op_df_plan().buffer);
    const n = this.n = plan[0], count = plan[1];
    this.head = 3 + 2 * count;
    this.groups = [];
    for (let id = 0; id < count; id++) this.groups.push(new Group(this, id, shapeOf(plan[3 + id]), plan[3 + count + id]));
    this.tagsets = null;
    this.lent = [];                       // events whose tags array went out
    this.byId = this.byObject = null;     // made when an order has to be found out
    const g = this.groups[0], out = this.out = new Array(n), orig = this.orig = new Array(n);
    if (plan[2] !== 0) this.extras();
    if (!g.hot) for (let i = 0; i < n; i++) out[i] = orig[i] = new Proxy({}, new Event(g.c, i));
    else for (let i = 0; i < n; i++) { makeAll(g.c, i); out[i] = orig[i] = g.whole(i); }
  }
  extras() {                              // members that an earlier script added to events or their source
    for (const [id, k, rows, values] of parse(op_df_extras())) {
      const g = this.groups[id], col = putColumn(g.c, k, []);
      g.keys = [...g.keys, k];
      (g.nested ??= []).push(k);
      for (let j = 0; j < rows.length; j++) { col[rows[j]] = values[j]; if (typeof values[j] === "object" && values[j] !== null) g.lend(k, rows[j], values[j]); }
    }
  }
  tagset(i) {
    const id = this.plan[this.head + i * 5 + 4];
    return id === 0 ? undefined : (this.tagsets ??= parse(op_df_tagsets()))[id];
  }
  image(k, i) {                           // [group, row] of an image as it came; group -1: there was none
    const s = this.head + i * 5 + (k === "after" ? 0 : 2);
    return [this.plan[s], this.plan[s + 1]];
  }
}

// ---- afterwards: what the host has to know ----

const ints = (list) => new Int32Array(list);
const text = (v) => {
  try { return stringify(v); } catch (e) {
    if (!(e instanceof TypeError)) throw e;
    return stringify(v, (_, x) => typeof x === "bigint" ? x.toString() : x);
  }
};
const shown = (v) => v !== undefined && typeof v !== "function" && typeof v !== "symbol";      // as JSON has it
function takeCells(g, skip) {
  const { c, w } = g;
  for (const k in w) {
    if (skip !== undefined && skip.includes(k)) continue;
    const col = c[k], rows = w[k], set = [], vals = [];
    let gone = null;
    for (let j = 0; j < rows.length; j++) {
      const i = rows[j], v = col[i];
      if (shown(v)) { set.push(i); vals.push(v); } else (gone ??= []).push(i);
    }
    if (set.length) op_df_set(g.id, k, ints(set), set.length, text(vals));
    if (gone) op_df_delete(g.id, k, ints(gone), gone.length);
  }
  if (g.seen) for (const [k, i, v, was] of g.seen.values()) {
    if (g.c[k][i] === v) { const now = text(v); if (now !== was) op_df_set(g.id, k, ints([i]), 1, "[" + now + "]"); }
  }
}
const alike = (a, b) => {
  if (a === b) return true;
  if (!isArray(a) || !isArray(b) || a.length !== b.length) return false;
  for (let j = 0; j < a.length; j++) if (a[j] !== b[j]) return false;
  return true;
};
function checkTags(v) {
  if (v === undefined || v === null) return v;
  if (!isArray(v)) throw new TypeError("event.tags must be an array of texts");
  for (let j = 0; j < v.length; j++) if (typeof v[j] !== "string") throw new TypeError("event.tags must be an array of texts, got " + typeof v[j]);
  return v;
}
function takeTags(b, g) {                 // as distinct tag lists, and for each event the number of its list
  const rows = [], ids = [], dict = new Map(), list = [], col = g.c.tags;
  const one = (i) => {
    const v = checkTags(col[i]);
    if (alike(v, b.tagset(i))) return;
    const s = isArray(v) ? v.join(SEP) : v;
    let id = dict.get(s);
    if (id === undefined || !alike(v, list[id])) { id = list.length; dict.set(s, id); list.push(v); }
    rows.push(i); ids.push(id);
  };
  const w = g.w.tags;
  if (w) for (let j = 0; j < w.length; j++) one(w[j]);
  for (let j = 0; j < b.lent.length; j++) one(b.lent[j]);
  if (rows.length) op_df_tags(ints(rows), ints(ids), rows.length, text(list));      // null: no tags
}

function difference(g, i, r) {            // of any object from a record: [[key, value, ..], [keys that r lacks]]
  const set = [], gone = [], { shape, c, keys: all } = g, own = keysOf(r);
  const known = shape.diff(r, c, i, set, gone);
  for (let j = shape.keys.length; j < all.length; j++) {
    const k = all[j], v = c[k][i];
    if (hasOwn(r, k) ? r[k] !== v : v !== undefined) { if (r[k] === undefined) gone.push(k); else set.push(k, r[k]); }
  }
  if (own.length > known) for (let j = 0; j < own.length; j++) { const k = own[j]; if (!(k in shape.proto) && !all.includes(k) && r[k] !== undefined) set.push(k, r[k]); }
  if (g.nested !== null) for (let j = 0; j < g.nested.length; j++) {      // an object of the host may be changed inside
    const k = g.nested[j], v = r[k];
    if (typeof v === "object" && v !== null && v === c[k][i] && g.seen?.has(k + SEP + i)) set.push(k, v);
  }
  return [set, gone];
}
const pairs = (list) => {
  const o = { __proto__: null };
  for (let j = 0; j < list.length; j += 2) o[list[j]] = list[j + 1];
  return o;
};

function baseOf(b, o, hint) {             // the event of the batch that a returned object is, or is a copy of; -1: none
  if (o === null || typeof o !== "object" || isArray(o)) throw new TypeError("a script must return events, got " + (o === null ? "null" : isArray(o) ? "an array" : typeof o));
  const { orig, groups } = b, id = o.event_id, ids = groups[0].c.event_id;
  if (groups[0].w.event_id !== undefined || b.plan[2] !== 0) {      // ids that scripts made need not differ
    const at = (b.byObject ??= new Map(orig.map((x, i) => [x, i]))).get(o);
    if (at !== undefined) return at;
  }
  if (id === undefined) return -1;
  return hint < b.n && ids[hint] === id ? hint : (b.byId ??= new Map(ids.map((x, i) => [x, i]))).get(id) ?? -1;
}
function replace(b, base, o) {            // a copy takes the place of its event: as if it had been written into it
  const g = b.groups[0], [set, gone] = difference(g, base, o);
  const note = (k, v) => { const w = g.w[k] ?? g.open(k); g.c[k][base] = v; w.push(base); };
  for (let j = 0; j < set.length; j += 2) note(set[j], set[j + 1]);
  for (let j = 0; j < gone.length; j++) note(gone[j], undefined);
}
function describe(b, base, o) {           // an added event: what differs from the event that it is a copy of
  if (base < 0) return { base: -1, set: o };
  const [set, gone] = difference(b.groups[0], base, o);
  const it = { base, set: pairs(set), gone: gone.filter((k) => k !== "source") };
  if (it.set.source === null) throw new TypeError("event.source must be an object");
  for (const k of ["after", "before", "source"]) {
    const v = it.set[k], [id, row] = k === "source" ? [1, base] : b.image(k, base);
    if (v === undefined || v === null || typeof v !== "object" || id < 0 || b.groups[0].w[k]?.includes(base)) continue;
    const [cells, lost] = difference(b.groups[id], row, v);
    it[k] = { set: pairs(cells), gone: lost };
    delete it.set[k];
  }
  if ("tags" in it.set) checkTags(it.set.tags);
  return it;
}
function takeImages(b) {                  // objects in the place of records: only what differs is written
  const g = b.groups[0], writes = [];
  for (const k of ["after", "before", "source"]) {
    const rows = g.w[k];
    if (rows === undefined) continue;
    const whole = [], seen = new Uint8Array(b.n);
    for (const i of rows) {
      if (seen[i] !== 0) continue;
      seen[i] = 1;
      const v = g.c[k][i];
      if (k === "source" && v === undefined) continue;      // an event always has one: left out, it stays
      if (k !== "source" && (v === undefined || v === null)) { whole.push(i); continue; }
      if (v === null || typeof v !== "object" || isArray(v)) throw new TypeError(`event.${k} must be an object` + (k === "source" ? "" : " or null"));
      const [id, row] = k === "source" ? [1, i] : b.image(k, i);
      if (id < 0) { whole.push(i); continue; }
      writes.push([b.groups[id], row, ...difference(b.groups[id], row, v)]);
    }
    if (whole.length) op_df_set(0, k, ints(whole), whole.length, text(whole.map((i) => g.c[k][i] ?? null)));
  }
  for (const [to, i, set, gone] of writes) {      // only now: an object may be the record of another image
    const note = (k, v) => { const w = to.w[k] ?? to.open(k); to.c[k][i] = v; w.push(i); };
    for (let j = 0; j < set.length; j += 2) note(set[j], set[j + 1]);
    for (let j = 0; j < gone.length; j++) note(gone[j], undefined);
  }
}
function commit(b, result) {
  const { groups, orig, n } = b, g = groups[0];
  const out = result === undefined || result === null ? b.out : isArray(result) ? result : [result];
  let cur = 0, near = 0, keep = null, copies = null, steps = n;
  const m = out.length;
  while (cur < m && out[cur] === orig[cur]) cur++;
  if (cur !== m || m !== n) {
    keep = new Int32Array(m);
    for (let j = 0; j < cur; j++) keep[j] = j;
    for (let j = cur; j < m; j++) {
      const o = out[j];
      let p = cur;
      while (p < n && orig[p] !== o && steps-- > 0) p++;
      if (p < n && orig[p] === o) { keep[j] = p; near = cur = p + 1; continue; }
      const base = baseOf(b, o, near);
      if (base >= 0) near = base + 1;
      if (base >= 0 && orig[base] === o) { keep[j] = base; cur = near; continue; }
      keep[j] = -1;
      (copies ??= []).push(j, base);
    }
  }
  if (copies !== null) {
    const taken = new Uint8Array(n), added = [], later = [];
    for (let j = 0; j < m; j++) if (keep[j] >= 0) taken[keep[j]] = 1;
    for (let k = 0; k < copies.length; k += 2) {
      const j = copies[k], base = copies[k + 1];
      if (base >= 0 && taken[base] === 0) { taken[base] = 1; keep[j] = base; replace(b, base, out[j]); } else later.push([j, base]);
    }
    for (const [j, base] of later) { added.push(describe(b, base, out[j])); keep[j] = -added.length; }
    if (added.length) op_df_new(text(added));
  }
  takeImages(b);
  for (let j = 1; j < groups.length; j++) takeCells(groups[j]);
  if (g.w.tags || b.lent.length) takeTags(b, g);
  takeCells(g, ["after", "before", "source", "tags", "route"]);
  if (keep) op_df_keep(keep, m);
}
const perEvent = (fn) => (events) => {
  const out = [];
  for (let j = 0; j < events.length; j++) {
    const r = fn(events[j]);
    if (isArray(r)) for (let k = 0; k < r.length; k++) out.push(r[k]);
    else if (r === undefined) out.push(events[j]);
    else if (r !== null) refuse(r), out.push(r);
  }
  return out;
};
const refuse = (r) => {
  if (r === null || typeof r !== "object") return;
  if (typeof r.then === "function") throw new TypeError("a script must not be async: it returned a Promise");
};

// ---- the global object of scripts ----

const line = (v) => {
  if (typeof v === "string") return v;
  if (v instanceof Error) return v.stack ? `${v}\n${v.stack}` : `${v}`;
  try { return (typeof v === "object" && v !== null ? text(v) : undefined) ?? String(v); } catch { return Object.prototype.toString.call(v); }
};
const LEVELS = { debug: 0, trace: 0, log: 1, info: 1, warn: 2, error: 3 };
const console = {};
for (const k of keysOf(LEVELS)) console[k] = (...list) => op_df_log(LEVELS[k], list.map(line).join(" "));
const HOST = ["Deno", "__bootstrap", "console", "queueMicrotask", "WebAssembly", "Temporal", "Atomics",
  "SharedArrayBuffer", "ShadowRealm", "setTimeout", "setInterval", "setImmediate", "print", "gc"];      // Atomics.wait would block the thread
for (const k of HOST) delete globalThis[k];
// See engine.rs: an error whose stack a function makes is not safe when the heap is full.
define(Error, "prepareStackTrace", { value: undefined, writable: false, enumerable: false, configurable: false });
define(globalThis, "console", { value: console, writable: true, configurable: true });

// What a script finds, to see afterwards whether it left something behind for the next one.
const names = new Set(namesOf(globalThis));
const intrinsics = [];
(() => {
  const known = new Set([globalThis]), todo = [globalThis];
  for (let o; (o = todo.pop()) !== undefined;) {
    for (const k of R.ownKeys(o)) {
      const d = R.getOwnPropertyDescriptor(o, k);
      intrinsics.push([o, k, d.value, d.get, d.set]);
      for (const v of [d.value, d.get, d.set]) {
        if ((typeof v === "object" && v !== null || typeof v === "function") && !known.has(v)) { known.add(v); todo.push(v); }
      }
    }
    const up = R.getPrototypeOf(o);
    if (up !== null && !known.has(up)) { known.add(up); todo.push(up); }
  }
})();
const shelves = new Map();                // object -> [number of its properties, whether there may be more]
for (const [o] of intrinsics) shelves.set(o, [R.ownKeys(o).length, R.isExtensible(o)]);

return {
  bind(fn, each) {                        // answers what to call for every slice
    const run = each ? perEvent(fn) : fn;
    return () => {
      const b = new Batch();
      try {
        const result = run(b.out);
        refuse(result);
        commit(b, result);
      } finally {
        for (const g of b.groups) {
          if (g.filled * 3 > g.rows * 2) g.shape.hot = HOT; else if (g.shape.hot > 0) g.shape.hot--;
          g.c = g.b = g.seen = g.w = g.nested = null;      // no cycles left: freed at once, nothing to collect
        }
      }
    };
  },
  reset() {                               // answers what the script left behind; empty: another one may come
    for (const k of namesOf(globalThis)) if (!names.has(k) && !R.deleteProperty(globalThis, k)) return `global ${k}`;
    for (const [o, [n, open]] of shelves) if (R.ownKeys(o).length !== n || R.isExtensible(o) !== open) return `properties of ${line(o)}`;
    for (const [o, k, value, get, set] of intrinsics) {
      const d = R.getOwnPropertyDescriptor(o, k);
      if (d === undefined || !Object.is(d.value, value) || d.get !== get || d.set !== set) return `property ${String(k)}`;
    }
    return "";
  },
};
})
