// @ts-check

/**
 * One cell. NULL is `null`, and `undefined` where the row has no such image or column. Integers are numbers where a number
 * holds them exactly, else bigints. What JavaScript has no type for is a `Typed`.
 *
 * @typedef {null | undefined | typeof UNAVAILABLE | boolean | number | bigint | string | Uint8Array | Typed} Value
 */

/** The source did not log the value (unchanged TOAST, partial row image); it is not NULL. Given to `set`: stays as it is. */
export const UNAVAILABLE = Symbol('unavailable');

/** The kinds that the interface calls otherwise than columns do. */
const TAGS = new Map([
  ['bool', 'boolean'],
  ['enum', 'enumerated'],
  ['set', 'labels'],
]);
const KINDS = new Map([...TAGS].map(([kind, tag]) => [tag, kind]));
const WHOLE = new Set(['int', 'uint', 'time', 'datetime', 'timestamp']);

/**
 * A value of a kind that JavaScript has no type for, or one whose kind shall be just that:
 * `new Typed('decimal', '12.50')`, `new Typed('float64', 1)`.
 *
 * Decimals, JSON, ENUM and SET labels hold a string, dates a number of days since 1970, times, datetimes and timestamps
 * microseconds, UUIDs and arrays bytes.
 */
export class Typed {
  /**
   * @param {string} kind as columns name it: `decimal`, `date`, `time`, `datetime`, `timestamp`, `json`, `uuid`, `enum`, `set`,
   *   `array`, `int`, `uint`, `float32`, `float64`, `bool`, `text`, `bytes`
   * @param {boolean | number | bigint | string | Uint8Array} value
   */
  constructor(kind, value) {
    this.kind = kind;
    this.value = value;
  }

  toString() {
    return String(this.value);
  }

  toJSON() {
    return typeof this.value === 'bigint' ? String(this.value) : this.value;
  }
}

/**
 * @param {bigint} value
 * @returns {number | bigint}
 */
function exactly(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/**
 * A cell as the host gives it.
 *
 * @param {{tag: string, val?: any}} cell
 * @returns {Value}
 */
export function fromHost({ tag, val }) {
  switch (tag) {
    case 'absent':
      return undefined;
    case 'null':
      return null;
    case 'unavailable':
      return UNAVAILABLE;
    case 'int':
    case 'uint':
      return exactly(val);
    case 'boolean':
    case 'float32':
    case 'float64':
    case 'text':
    case 'bytes':
      return val;
    default:
      return new Typed(KINDS.get(tag) ?? tag, typeof val === 'bigint' ? exactly(val) : val);
  }
}

/**
 * A cell as the host takes it. Numbers and strings become what the column is declared as, where they can.
 *
 * @param {Value | object} value objects and arrays become JSON
 * @param {string} [declared] the column's kind
 * @returns {{tag: string, val?: any}}
 */
export function toHost(value, declared = 'any') {
  switch (typeof value) {
    case 'undefined':
      return { tag: 'absent' };
    case 'symbol':
      return { tag: 'unavailable' };
    case 'boolean':
      return { tag: 'boolean', val: value };
    case 'bigint':
      return { tag: declared === 'uint' || value > 0x7fffffffffffffffn ? 'uint' : 'int', val: value };
    case 'string': {
      const tag = ['decimal', 'enum', 'set'].includes(declared) ? declared : 'text';
      return { tag: TAGS.get(tag) ?? tag, val: value };
    }
    case 'number':
      if (declared === 'decimal') return { tag: 'decimal', val: String(value) };
      if (declared === 'float32' || declared === 'float64') return { tag: declared, val: value };
      if (!Number.isSafeInteger(value)) return { tag: 'float64', val: value };
      return { tag: declared === 'uint' && value >= 0 ? 'uint' : 'int', val: BigInt(value) };
    case 'object':
      if (value === null) return { tag: 'null' };
      if (isBytes(value)) return { tag: 'bytes', val: value };
      if (value instanceof Typed) {
        const val = WHOLE.has(value.kind) ? BigInt(/** @type {number} */ (value.value)) : value.value;
        return { tag: TAGS.get(value.kind) ?? value.kind, val };
      }
      return { tag: 'json', val: JSON.stringify(value) };
    default:
      throw new TypeError(`a cell cannot hold a ${typeof value}`);
  }
}

/**
 * Not `instanceof`: arrays of the bindings are not of the plugin's own realm.
 *
 * @param {unknown} value
 * @returns {value is Uint8Array}
 */
export function isBytes(value) {
  return Object.prototype.toString.call(value) === '[object Uint8Array]';
}

/**
 * A row by column names, as the host takes it.
 *
 * @param {Record<string, Value | object> | null | undefined} row
 */
export function namedValues(row) {
  return row ? Object.entries(row).map(([name, value]) => [name, toHost(value)]) : undefined;
}
