export type Value = import('./value.js').Value;
export type Image = 'before' | 'after';
export type Op = 'c' | 'u' | 'd' | 'r' | 't' | 'ddl' | 'm';
export type Column = {
    name: string;
    kind: string;
    sourceType: string;
    key: boolean;
    nullable: boolean;
};
export type Table = {
    database: string;
    schema?: string;
    name: string;
    fingerprint: bigint;
    columns: Column[];
};
export type Origin = {
    eventId: string;
    tsUs: bigint;
    transaction?: string;
    ordinal: number;
    position: bigint;
};
export type Extras = {
    tags: string[];
    headers: [string, string][];
    topic?: string;
    key?: string;
    ddl?: [string, string];
    message?: string;
    synthetic?: string;
};
export type Route = {
    topic?: string;
    key?: string;
    headers?: Record<string, string>;
};
export type NewEvent = {
    op: Op;
    before?: Record<string, Value>;
    after?: Record<string, Value>;
    tags?: string[];
    route?: Route;
};
export type Entries<T> = {
    present: Uint8Array;
    values: T;
};
export type Flat = {
    present: Uint8Array;
    ends: Uint32Array;
    data: Uint8Array;
};
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
export declare const IMAGES: readonly Image[];
/** The operations, by the numbers that the interface uses. @type {readonly Op[]} */
export declare const OPS: readonly Op[];
/**
 * What an entry of a column is. In a setter `VALUE` and `NULL` set the cell; the others leave it as it is.
 */
export declare const PRESENCE: Readonly<{
    /** There is no such image, or no such column in the row's table. */
    NONE: 0;
    VALUE: 1;
    /** SQL NULL. */
    NULL: 2;
    /** The source did not log it. */
    UNAVAILABLE: 3;
    /** A value of another type; ask for it by cell. */
    OTHER: 4;
}>;
/** A batch of events in commit order, lent for one call. Row numbers are those of the batch as it came, from 0. */
export declare class Batch {
    #private;
    /** How many rows it has. @type {number} */
    length: number;
    /** @param {any} host the batch of the bindings */
    constructor(host: any);
    /** Tells the host the edits so far; of two edits of one cell the later wins. It happens by itself at the end of a call. */
    flush(): void;
    /** What all its events have in common. @returns {{connector: string, pipeline: string, tenant: string, id: string}} */
    source(): {
        connector: string;
        pipeline: string;
        tenant: string;
        id: string;
    };
    /** The tables that rows refer to by index. Two versions of one table can stand side by side. @returns {Table[]} */
    tables(): Table[];
    /** Per row, an index into `tables()`. @returns {Uint32Array} */
    tableOf(): Uint32Array;
    /** Per row, what happened. @returns {Op[]} */
    ops(): Op[];
    /** Per row, the source's time in microseconds since 1970-01-01T00:00Z. @returns {BigInt64Array} */
    times(): BigInt64Array;
    /** Where a row's event comes from. @param {number} row @returns {Origin} */
    origin(row: number): Origin;
    /** Tags, headers, routing and the like of a row's event. @param {number} row @returns {Extras} */
    extras(row: number): Extras;
    /** Per row, whether its event is the last of its transaction that goes on. For formatters. @returns {boolean[]} */
    transactionEnds(): boolean[];
    /** Integers, and what is one inside: booleans, dates (days), times, datetimes, timestamps (microseconds).
     * @param {Image} image @param {string} column @returns {Entries<BigInt64Array>} */
    ints(image: Image, column: string): Entries<BigInt64Array>;
    /** @param {Image} image @param {string} column @returns {Entries<Float64Array>} */
    floats(image: Image, column: string): Entries<Float64Array>;
    /** Texts, decimals, JSON, ENUM and SET labels.
     * @param {Image} image @param {string} column @returns {Entries<string[]>} */
    texts(image: Image, column: string): Entries<string[]>;
    /** As `texts`, and bytes too, without a string for each row. @param {Image} image @param {string} column @returns {Flat} */
    flats(image: Image, column: string): Flat;
    /** Cells that held a boolean, a date and so on stay one.
     * @param {Image} image @param {string} column @param {Entries<BigInt64Array>} entries */
    setInts(image: Image, column: string, entries: Entries<BigInt64Array>): void;
    /** @param {Image} image @param {string} column @param {Entries<Float64Array>} entries */
    setFloats(image: Image, column: string, entries: Entries<Float64Array>): void;
    /** Cells that held a decimal, JSON or a label stay one.
     * @param {Image} image @param {string} column @param {Entries<string[]>} entries */
    setTexts(image: Image, column: string, entries: Entries<string[]>): void;
    /** @param {Image} image @param {string} column @param {Flat} entries */
    setFlats(image: Image, column: string, entries: Flat): void;
    /** Rewrites every text of a column; cells that hold no text stay as they are.
     * @param {Image} image @param {string} column @param {(text: string) => string} change */
    mapTexts(image: Image, column: string, change: (text: string) => string): void;
    /** Sets one value in every row that has the image and the column.
     * @param {Image} image @param {string} column @param {Value} value */
    fill(image: Image, column: string, value: Value): void;
    /** Drops every row whose entry is false. @param {readonly boolean[]} mask */
    keep(mask: readonly boolean[]): void;
    /** Takes a column out of every row. @param {string} column */
    removeColumn(column: string): void;
    /** As `column`, making the column in every table that lacks it. Its cells are absent until they are set.
     * @param {string} name @param {string} kind `text`, `int`, `json`, ... @returns {number} */
    addColumn(name: string, kind: string): number;
    /** @param {string} tag @param {readonly boolean[]} [mask] the rows; left out: all */
    tagWhere(tag: string, mask?: readonly boolean[]): void;
    /** @param {string} name @param {string} value @param {readonly boolean[]} [mask] the rows; left out: all */
    headerWhere(name: string, value: string, mask?: readonly boolean[]): void;
    /** @param {Route} route @param {readonly boolean[]} [mask] the rows; left out: all */
    routeWhere(route: Route, mask?: readonly boolean[]): void;
    /** The events one after the other. Their rows cross from the host together. @returns {Generator<Event>} */
    events(): Generator<Event>;
    /** A number for the calls on single cells; undefined: no table of the batch has the column.
     * @param {string} name @returns {number | undefined} */
    column(name: string): number | undefined;
    /** @param {number} row @param {Image} image @param {number} column of `column()` @returns {Value} */
    get(row: number, image: Image, column: number): Value;
    /** Sets one cell of an image that exists.
     * @param {number} row @param {Image} image @param {number} column of `column()` @param {Value | object} value
     * @param {string} [kind] the column's kind, which numbers and strings follow */
    set(row: number, image: Image, column: number, value: Value | object, kind?: string): void;
    /** Takes one column out of one image. @param {number} row @param {Image} image @param {number} column of `column()` */
    unset(row: number, image: Image, column: number): void;
    /** Puts a whole image in place of the one there is, or of none; `null` takes it away. Columns that the table lacks are added.
     * @param {number} row @param {Image} image @param {Record<string, Value | object> | null} values */
    setImage(row: number, image: Image, values: Record<string, Value | object> | null): void;
    /** @param {number} row @param {Op} op */
    setOp(row: number, op: Op): void;
    /** @param {number} row */
    drop(row: number): void;
    /** Takes an event out of the stream; the stage's `on_error` decides what becomes of it.
     * @param {number} row @param {string} reason */
    reject(row: number, reason: string): void;
    /** @param {number} row @param {string} tag */
    tag(row: number, tag: string): void;
    /** @param {number} row @param {string} name @param {string} value */
    header(row: number, name: string, value: string): void;
    /** Sends an event elsewhere. @param {number} row @param {Route} route */
    route(row: number, route: Route): void;
    /** Adds an event right after a row, which may have been dropped. @param {number} row @param {NewEvent} event */
    emit(row: number, { op, before, after, tags, route }: NewEvent): void;
    /** Per row, the image as JSON text; undefined where there is none. @param {Image} image @returns {(string | undefined)[]} */
    jsonRows(image: Image): (string | undefined)[];
    /** Per row, JSON text of an object with all that the native envelope says beside the images. @returns {string[]} */
    jsonOrigins(): string[];
    /** The batch as events in the native form; big integers lose digits, so prefer columns or cells for those. @returns {any[]} */
    toJSON(): any[];
    /** Takes over such an array: events are found again by `event_id`, what differs is set, missing ones are dropped, new ones added.
     * @param {any[]} events */
    replaceJSON(events: any[]): void;
}
/** One event of `Batch.events()`. */
export declare class Event {
    #private;
    /** Its number in the batch. */
    row: number;
    /** What happened. @type {Op} */
    op: Op;
    /** Its table. */
    table: Table;
    /** @param {Batch} batch @param {number} row @param {any} cells @param {Table} table @param {Map<string, number>} names */
    constructor(batch: Batch, row: number, cells: any, table: Table, names: Map<string, number>);
    /** Whether it has this image. @param {Image} image */
    has(image: Image): boolean;
    /** One cell; undefined where there is no such image or column. @param {Image} image @param {string} column @returns {Value} */
    get(image: Image, column: string): Value;
    /** The cell as it was. @param {string} column */
    before(column: string): import("./value.js").Value;
    /** The cell as it is now. @param {string} column */
    after(column: string): import("./value.js").Value;
    /** A whole image by column names; undefined where there is none. @param {Image} image @returns {Record<string, Value> | undefined} */
    image(image: Image): Record<string, Value> | undefined;
    /** Sets one cell of an image that exists. Numbers and strings become what the column is declared as; a column that the table
     * lacks is added. @param {Image} image @param {string} column @param {Value | object} value */
    set(image: Image, column: string, value: Value | object): void;
    /** Takes one column out of one image. @param {Image} image @param {string} column */
    unset(image: Image, column: string): void;
    /** @param {Image} image @param {Record<string, Value | object> | null} values see `Batch.setImage` */
    setImage(image: Image, values: Record<string, Value | object> | null): void;
    /** @param {Op} op */
    setOp(op: Op): void;
    drop(): void;
    /** Takes the event out of the stream; the stage's `on_error` decides what becomes of it. @param {string} reason */
    reject(reason: string): void;
    /** @param {string} tag */
    tag(tag: string): void;
    /** @param {string} name @param {string} value */
    header(name: string, value: string): void;
    /** Sends the event elsewhere. @param {Route} route */
    route(route: Route): void;
    /** Adds an event right after this one. @param {NewEvent} event */
    emit(event: NewEvent): void;
    /** Where the event comes from. */
    origin(): Origin;
    /** Its tags, headers, routing and the like. */
    extras(): Extras;
}
