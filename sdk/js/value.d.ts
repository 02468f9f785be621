export type Value = null | undefined | typeof UNAVAILABLE | boolean | number | bigint | string | Uint8Array | Typed;
/**
 * One cell. NULL is `null`, and `undefined` where the row has no such image or column. Integers are numbers where a number
 * holds them exactly, else bigints. What JavaScript has no type for is a `Typed`.
 *
 * @typedef {null | undefined | typeof UNAVAILABLE | boolean | number | bigint | string | Uint8Array | Typed} Value
 */
/** The source did not log the value (unchanged TOAST, partial row image); it is not NULL. Given to `set`: stays as it is. */
export declare const UNAVAILABLE: unique symbol;
/**
 * A value of a kind that JavaScript has no type for, or one whose kind shall be just that:
 * `new Typed('decimal', '12.50')`, `new Typed('float64', 1)`.
 *
 * Decimals, JSON, ENUM and SET labels hold a string, dates a number of days since 1970, times, datetimes and timestamps
 * microseconds, UUIDs and arrays bytes.
 */
export declare class Typed {
    kind: string;
    value: string | number | bigint | boolean | Uint8Array<ArrayBufferLike>;
    /**
     * @param {string} kind as columns name it: `decimal`, `date`, `time`, `datetime`, `timestamp`, `json`, `uuid`, `enum`, `set`,
     *   `array`, `int`, `uint`, `float32`, `float64`, `bool`, `text`, `bytes`
     * @param {boolean | number | bigint | string | Uint8Array} value
     */
    constructor(kind: string, value: boolean | number | bigint | string | Uint8Array);
    toString(): string;
    toJSON(): string | number | boolean | Uint8Array<ArrayBufferLike>;
}
/**
 * A cell as the host gives it.
 *
 * @param {{tag: string, val?: any}} cell
 * @returns {Value}
 */
export declare function fromHost({ tag, val }: {
    tag: string;
    val?: any;
}): Value;
/**
 * A cell as the host takes it. Numbers and strings become what the column is declared as, where they can.
 *
 * @param {Value | object} value objects and arrays become JSON
 * @param {string} [declared] the column's kind
 * @returns {{tag: string, val?: any}}
 */
export declare function toHost(value: Value | object, declared?: string): {
    tag: string;
    val?: any;
};
/**
 * Not `instanceof`: arrays of the bindings are not of the plugin's own realm.
 *
 * @param {unknown} value
 * @returns {value is Uint8Array}
 */
export declare function isBytes(value: unknown): value is Uint8Array;
/**
 * A row by column names, as the host takes it.
 *
 * @param {Record<string, Value | object> | null | undefined} row
 */
export declare function namedValues(row: Record<string, Value | object> | null | undefined): (string | {
    tag: string;
    val?: any;
})[][] | undefined;
