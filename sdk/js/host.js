// @ts-check
/** What a component is given by its host, put here when it is built; natively there is nothing. */

/** @type {{log?: any, metrics?: any, clock?: any}} */
const host = {};

/** @param {typeof host} given */
export function connect(given) {
  Object.assign(host, given);
  if (host.log) globalThis.console = logging(host.log);
}

/** @param {'metrics' | 'clock'} grant */
function granted(grant) {
  if (!host[grant]) {
    throw new Error(`it needs the grant ${grant}: name it in package.json under deltaforge.grants, and in the pipeline`);
  }
  return host[grant];
}

/** Numbers for the host's metrics page, named `[a-z][a-z0-9_]*`. They need the grant `metrics`. */
export const metrics = {
  /** Adds to a counter. @param {string} counter @param {number | bigint} [delta] */
  add(counter, delta = 1) {
    granted('metrics').add(counter, BigInt(delta));
  },
  /** Sets a gauge. @param {string} gauge @param {number} value */
  set(gauge, value) {
    granted('metrics').set(gauge, value);
  },
  /** Adds a value to a histogram. @param {string} histogram @param {number} value */
  observe(histogram, value) {
    granted('metrics').observe(histogram, value);
  },
};

/** The time. It needs the grant `clock`; `Date` does not know it. */
export const clock = {
  /** Microseconds since 1970-01-01T00:00Z. @returns {number} */
  now() {
    return Number(granted('clock').now());
  },
  /** Nanoseconds, only for differences. @returns {bigint} */
  monotonic() {
    return granted('clock').monotonic();
  },
};

/** @param {unknown} value @returns {string} */
function text(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return `${value.name}: ${value.message}\n${value.stack ?? ''}`.trimEnd();
  if (typeof value !== 'object' || value === null) return String(value);
  return JSON.stringify(value, (_, held) => (typeof held === 'bigint' ? String(held) : held));
}

/**
 * A console over the host's log. An object behind the message becomes the line's fields:
 * `console.warn('no country', { customer: 7 })`.
 *
 * @param {any} log
 * @returns {Console}
 */
function logging(log) {
  const at =
    (/** @type {string} */ level) =>
    (/** @type {unknown[]} */ ...parts) => {
      if (!log.enabled(level)) return;
      const last = parts.at(-1);
      const isFields = parts.length > 1 && Object.getPrototypeOf(Object(last)) === Object.prototype;
      const fields = isFields ? Object.entries(Object(parts.pop())) : [];
      log.log(level, parts.map(text).join(' '), fields.map(([name, value]) => [name, text(value)]));
    };
  const info = at('info');
  return /** @type {Console} */ ({
    ...globalThis.console,
    ...{ trace: at('trace'), debug: at('debug'), log: info, info, warn: at('warn'), error: at('error') },
  });
}
