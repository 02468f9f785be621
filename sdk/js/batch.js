// @ts-check
import { fromHost, namedValues, toHost } from './value.js';

/** @typedef {import('./value.js').Value} Value */
/** Which of an event's two row images: as it was, as it is now. @typedef {'before' | 'after'} Image */
/** What happened: created, updated, deleted, read by a snapshot, table truncated, definition changed, message. Others may follow.
 * @typedef {'c' | 'u' | 'd' | 'r' | 't' | 'ddl' | 'm'} Op */
/** @typedef {{name: string, kind: string, sourceType: string, key: boolean, nullable: boolean}} Column */
/** @typedef {{database: string, schema?: string, name: string, fingerprint: bigint, columns: Column[]}} Table */
/** @typedef {{eventId: string, tsUs: bigint, transaction?: string, ordinal: number, position: bigint}} Origin */
/** @typedef {{tags: string[], headers: [string, string][], topic?: string, key?: string, ddl?: [string, string], message?: string,
 * synthetic?: string}} Extras */
/** Where an event goes; what is left out stays as it is. @typedef {{topic?: string, key?: string, headers?: Record<string, string>}} Route */
/** An event to add right after another; it takes over that one's origin, table, tags and routing.
 * @typedef {{op: Op, before?: Record<string, Value>, after?: Record<string, Value>, tags?: string[], route?: Route}} NewEvent */
/** A column with one entry a row; `present` says what the entry is, see `PRESENCE`.
 * @template T @typedef {{present: Uint8Array, values: T}} Entries */
/** Texts or bytes in one piece: entry `i` is `data.subarray(i ? ends[i - 1] : 0, ends[i])`.
 * @typedef {{present: Uint8Array, ends: Uint32Array, data: Uint8Array}} Flat */

/** Both images, in the order of time. @type {readonly Image[]} */
export const IMAGES = ['before', 'after'];

/** The operations, by the numbers that the interface uses. @type {readonly Op[]} */
export const OPS = ['c', 'u', 'd', 'r', 't', 'ddl', 'm'];

/**
 * What an entry of a column is. In a setter `VALUE` and `NULL` set the cell; the others leave it as it is.
 */
export const PRESENCE = Object.freeze({
  /** There is no such image, or no such column in the row's table. */
  NONE: 0,
  VALUE: 1,
  /** SQL NULL. */
  NULL: 2,
  /** The source did not log it. */
  UNAVAILABLE: 3,
  /** A value of another type; ask for it by cell. */
  OTHER: 4,
});

/** @param {Op} op */
const opNumber = (op) => {
  const number = OPS.indexOf(op);
  if (number < 0) throw new RangeError(`${op} is no operation`);
  return number;
};

/** @param {Route} [route] */
const hostRoute = ({ topic, key, headers = {} } = {}) => ({ topic, key, headers: Object.entries(headers) });

/** @param {readonly boolean[]} [mask] */
const hostMask = (mask) => Uint8Array.from(mask ?? [], Number);

/** A batch of events in commit order, lent for one call. Row numbers are those of the batch as it came, from 0. */
export class Batch {
  /** @type {any} */
  #host;
  /** Edits of single rows that the host has not been told yet. @type {{tag: string, val: any}[]} */
  #edits = [];
  /** @type {Table[] | undefined} */
  #tables;
  /** What `column()` has answered. @type {Map<string, number>} */
  #columns = new Map();

  /** @param {any} host the batch of the bindings */
  constructor(host) {
    this.#host = host;
    /** How many rows it has. @type {number} */
    this.length = host.len();
  }

  /** Tells the host the edits so far; of two edits of one cell the later wins. It happens by itself at the end of a call. */
  flush() {
    if (this.#edits.length) this.#host.apply(this.#edits.splice(0));
  }

  /** The host, for an edit of its own: what came before it goes first. */
  get #now() {
    this.flush();
    return this.#host;
  }

  /** @param {string} tag @param {any} val */
  #edit(tag, val) {
    this.#edits.push({ tag, val });
  }

  /** What all its events have in common. @returns {{connector: string, pipeline: string, tenant: string, id: string}} */
  source() {
    return this.#host.source();
  }

  /** The tables that rows refer to by index. Two versions of one table can stand side by side. @returns {Table[]} */
  tables() {
    return (this.#tables ??= this.#host.tables());
  }

  /** Per row, an index into `tables()`. @returns {Uint32Array} */
  tableOf() {
    return this.#host.tableOf();
  }

  /** Per row, what happened. @returns {Op[]} */
  ops() {
    return Array.from(this.#host.ops(), (op) => OPS[op]);
  }

  /** Per row, the source's time in microseconds since 1970-01-01T00:00Z. @returns {BigInt64Array} */
  times() {
    return this.#host.times();
  }

  /** Where a row's event comes from. @param {number} row @returns {Origin} */
  origin(row) {
    return this.#host.origin(row);
  }

  /** Tags, headers, routing and the like of a row's event. @param {number} row @returns {Extras} */
  extras(row) {
    return this.#host.extras(row);
  }

  /** Per row, whether its event is the last of its transaction that goes on. For formatters. @returns {boolean[]} */
  transactionEnds() {
    return Array.from(this.#host.transactionEnds(), Boolean);
  }

  // Whole columns: the fast way.

  /** Integers, and what is one inside: booleans, dates (days), times, datetimes, timestamps (microseconds).
   * @param {Image} image @param {string} column @returns {Entries<BigInt64Array>} */
  ints(image, column) {
    return this.#host.ints(image, column);
  }

  /** @param {Image} image @param {string} column @returns {Entries<Float64Array>} */
  floats(image, column) {
    return this.#host.floats(image, column);
  }

  /** Texts, decimals, JSON, ENUM and SET labels.
   * @param {Image} image @param {string} column @returns {Entries<string[]>} */
  texts(image, column) {
    return this.#host.texts(image, column);
  }

  /** As `texts`, and bytes too, without a string for each row. @param {Image} image @param {string} column @returns {Flat} */
  flats(image, column) {
    return this.#host.flats(image, column);
  }

  /** Cells that held a boolean, a date and so on stay one.
   * @param {Image} image @param {string} column @param {Entries<BigInt64Array>} entries */
  setInts(image, column, entries) {
    this.#now.setInts(image, column, entries);
  }

  /** @param {Image} image @param {string} column @param {Entries<Float64Array>} entries */
  setFloats(image, column, entries) {
    this.#now.setFloats(image, column, entries);
  }

  /** Cells that held a decimal, JSON or a label stay one.
   * @param {Image} image @param {string} column @param {Entries<string[]>} entries */
  setTexts(image, column, entries) {
    this.#now.setTexts(image, column, entries);
  }

  /** @param {Image} image @param {string} column @param {Flat} entries */
  setFlats(image, column, entries) {
    this.#now.setFlats(image, column, entries);
  }

  /** Rewrites every text of a column; cells that hold no text stay as they are.
   * @param {Image} image @param {string} column @param {(text: string) => string} change */
  mapTexts(image, column, change) {
    const { present, values } = this.texts(image, column);
    let changed = false;
    for (let row = 0; row < present.length; row++) {
      if (present[row] !== PRESENCE.VALUE) continue;
      const fresh = change(values[row]);
      if (fresh === values[row]) {
        present[row] = PRESENCE.NONE;
      } else {
        values[row] = fresh;
        changed = true;
      }
    }
    // What is NULL is so already.
    if (changed) this.setTexts(image, column, { present, values });
  }

  /** Sets one value in every row that has the image and the column.
   * @param {Image} image @param {string} column @param {Value} value */
  fill(image, column, value) {
    this.#now.fill(image, column, toHost(value));
  }

  /** Drops every row whose entry is false. @param {readonly boolean[]} mask */
  keep(mask) {
    this.#now.keep(hostMask(mask));
  }

  /** Takes a column out of every row. @param {string} column */
  removeColumn(column) {
    this.#now.removeColumn(column);
  }

  /** As `column`, making the column in every table that lacks it. Its cells are absent until they are set.
   * @param {string} name @param {string} kind `text`, `int`, `json`, ... @returns {number} */
  addColumn(name, kind) {
    return this.#now.addColumn(name, kind);
  }

  /** @param {string} tag @param {readonly boolean[]} [mask] the rows; left out: all */
  tagWhere(tag, mask) {
    this.#now.tagWhere(hostMask(mask), tag);
  }

  /** @param {string} name @param {string} value @param {readonly boolean[]} [mask] the rows; left out: all */
  headerWhere(name, value, mask) {
    this.#now.headerWhere(hostMask(mask), name, value);
  }

  /** @param {Route} route @param {readonly boolean[]} [mask] the rows; left out: all */
  routeWhere(route, mask) {
    this.#now.routeWhere(hostMask(mask), hostRoute(route));
  }

  // Rows and cells: the easy way.

  /** The events one after the other. Their rows cross from the host together. @returns {Generator<Event>} */
  *events() {
    const tables = this.tables();
    const names = tables.map(({ columns }) => new Map(columns.map(({ name }, at) => [name, at])));
    const rows = this.#host.rows([]);
    for (let row = 0; row < rows.length; row++) {
      yield new Event(this, row, rows[row], tables[rows[row].table], names[rows[row].table]);
    }
  }

  /** A number for the calls on single cells; undefined: no table of the batch has the column.
   * @param {string} name @returns {number | undefined} */
  column(name) {
    const known = this.#columns.get(name) ?? this.#host.column(name);
    if (known !== undefined) this.#columns.set(name, known);
    return known;
  }

  /** @param {number} row @param {Image} image @param {number} column of `column()` @returns {Value} */
  get(row, image, column) {
    return fromHost(this.#host.get(row, image, column));
  }

  /** Sets one cell of an image that exists.
   * @param {number} row @param {Image} image @param {number} column of `column()` @param {Value | object} value
   * @param {string} [kind] the column's kind, which numbers and strings follow */
  set(row, image, column, value, kind) {
    this.#edit('set', { row, image, column, value: toHost(value, kind) });
  }

  /** Takes one column out of one image. @param {number} row @param {Image} image @param {number} column of `column()` */
  unset(row, image, column) {
    this.#edit('unset', { row, image, column });
  }

  /** Puts a whole image in place of the one there is, or of none; `null` takes it away. Columns that the table lacks are added.
   * @param {number} row @param {Image} image @param {Record<string, Value | object> | null} values */
  setImage(row, image, values) {
    this.#now.setImage(row, image, namedValues(values));
  }

  /** @param {number} row @param {Op} op */
  setOp(row, op) {
    this.#edit('set-op', [row, opNumber(op)]);
  }

  /** @param {number} row */
  drop(row) {
    this.#edit('drop', row);
  }

  /** Takes an event out of the stream; the stage's `on_error` decides what becomes of it.
   * @param {number} row @param {string} reason */
  reject(row, reason) {
    this.#edit('reject', [row, reason]);
  }

  /** @param {number} row @param {string} tag */
  tag(row, tag) {
    this.#edit('tag', [row, tag]);
  }

  /** @param {number} row @param {string} name @param {string} value */
  header(row, name, value) {
    this.#edit('header', { row, name, value });
  }

  /** Sends an event elsewhere. @param {number} row @param {Route} route */
  route(row, route) {
    this.#edit('route', [row, hostRoute(route)]);
  }

  /** Adds an event right after a row, which may have been dropped. @param {number} row @param {NewEvent} event */
  emit(row, { op, before, after, tags = [], route }) {
    const images = { before: namedValues(before), after: namedValues(after) };
    this.#edit('emit', { at: row, op: opNumber(op), ...images, tags, route: hostRoute(route) });
  }

  // JSON.

  /** Per row, the image as JSON text; undefined where there is none. @param {Image} image @returns {(string | undefined)[]} */
  jsonRows(image) {
    return unpacked(this.#host.jsonRows(image));
  }

  /** Per row, JSON text of an object with all that the native envelope says beside the images. @returns {string[]} */
  jsonOrigins() {
    return /** @type {string[]} */ (unpacked(this.#host.jsonOrigins()));
  }

  /** The batch as events in the native form; big integers lose digits, so prefer columns or cells for those. @returns {any[]} */
  toJSON() {
    return JSON.parse(this.#host.toJson());
  }

  /** Takes over such an array: events are found again by `event_id`, what differs is set, missing ones are dropped, new ones added.
   * @param {any[]} events */
  replaceJSON(events) {
    this.#now.replaceJson(JSON.stringify(events));
  }
}

/** @param {Flat} flat */
function unpacked({ present, ends, data }) {
  const decoder = new TextDecoder();
  return Array.from(present, (presence, row) =>
    presence === PRESENCE.VALUE ? decoder.decode(data.subarray(row ? ends[row - 1] : 0, ends[row])) : undefined,
  );
}

/** One event of `Batch.events()`. */
export class Event {
  /** @type {Batch} */
  #batch;
  /** @type {any} */
  #cells;
  /** The table's columns by name. @type {Map<string, number>} */
  #names;

  /** @param {Batch} batch @param {number} row @param {any} cells @param {Table} table @param {Map<string, number>} names */
  constructor(batch, row, cells, table, names) {
    this.#batch = batch;
    this.#cells = cells;
    this.#names = names;
    /** Its number in the batch. */
    this.row = row;
    /** What happened. @type {Op} */
    this.op = OPS[cells.op];
    /** Its table. */
    this.table = table;
  }

  /** Whether it has this image. @param {Image} image */
  has(image) {
    return this.#cells[image] != null;
  }

  /** One cell; undefined where there is no such image or column. @param {Image} image @param {string} column @returns {Value} */
  get(image, column) {
    const at = this.#names.get(column);
    const cells = this.#cells[image];
    return cells == null || at === undefined ? undefined : fromHost(cells[at]);
  }

  /** The cell as it was. @param {string} column */
  before(column) {
    return this.get('before', column);
  }

  /** The cell as it is now. @param {string} column */
  after(column) {
    return this.get('after', column);
  }

  /** A whole image by column names; undefined where there is none. @param {Image} image @returns {Record<string, Value> | undefined} */
  image(image) {
    if (!this.has(image)) return undefined;
    const all = Array.from(this.#names, ([name, at]) => [name, fromHost(this.#cells[image][at])]);
    return Object.fromEntries(all.filter(([, value]) => value !== undefined));
  }

  /** Sets one cell of an image that exists. Numbers and strings become what the column is declared as; a column that the table
   * lacks is added. @param {Image} image @param {string} column @param {Value | object} value */
  set(image, column, value) {
    const at = this.#names.get(column);
    const kind = at === undefined ? 'any' : this.table.columns[at].kind;
    const id = at === undefined ? this.#batch.addColumn(column, 'any') : this.#batch.column(column);
    this.#batch.set(this.row, image, /** @type {number} */ (id), value, kind);
  }

  /** Takes one column out of one image. @param {Image} image @param {string} column */
  unset(image, column) {
    const id = this.#names.has(column) ? this.#batch.column(column) : undefined;
    if (id !== undefined) this.#batch.unset(this.row, image, id);
  }

  /** @param {Image} image @param {Record<string, Value | object> | null} values see `Batch.setImage` */
  setImage(image, values) {
    this.#batch.setImage(this.row, image, values);
  }

  /** @param {Op} op */
  setOp(op) {
    this.#batch.setOp(this.row, op);
  }

  drop() {
    this.#batch.drop(this.row);
  }

  /** Takes the event out of the stream; the stage's `on_error` decides what becomes of it. @param {string} reason */
  reject(reason) {
    this.#batch.reject(this.row, reason);
  }

  /** @param {string} tag */
  tag(tag) {
    this.#batch.tag(this.row, tag);
  }

  /** @param {string} name @param {string} value */
  header(name, value) {
    this.#batch.header(this.row, name, value);
  }

  /** Sends the event elsewhere. @param {Route} route */
  route(route) {
    this.#batch.route(this.row, route);
  }

  /** Adds an event right after this one. @param {NewEvent} event */
  emit(event) {
    this.#batch.emit(this.row, event);
  }

  /** Where the event comes from. */
  origin() {
    return this.#batch.origin(this.row);
  }

  /** Its tags, headers, routing and the like. */
  extras() {
    return this.#batch.extras(this.row);
  }
}
