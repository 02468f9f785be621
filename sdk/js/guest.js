// @ts-check
/** What the component exports, made of a plugin's class. `deltaforge plugin build` calls this; plugins do not. */

import { Batch } from './batch.js';
import { Failure, Fatal, Reject } from './failure.js';
import { connect } from './host.js';
import { isBytes } from './value.js';

/**
 * What a plugin's class may have, beside its constructor and its methods.
 *
 * @typedef {object} Plugin
 * @property {Record<string, any>} [config] the defaults of the configuration. With them, a key that is not among them is
 *   refused, as is a value of another type; without them the constructor is given what the pipeline says
 * @property {{tables?: string[], reads?: string[], writes?: string[], configSchema?: object | string}} [manifest] patterns of
 *   the tables it wants to see; the columns it reads and writes, for people; its configuration as JSON Schema
 * @property {string} [contentType] formatters: what the bodies are [application/json]
 */

/** @typedef {Plugin & (new (config: any) => any)} PluginClass */

/** @param {unknown} value */
const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value);

/**
 * A configuration block over the defaults.
 *
 * @param {string} text
 * @param {Record<string, any>} [defaults]
 */
export function decodeConfig(text, defaults) {
  const given = JSON.parse(text || '{}') ?? {};
  if (!defaults) return given;
  const config = JSON.parse(JSON.stringify(defaults));
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, name)) throw new Fatal(`unknown field \`${name}\``);
    const wanted = typeOf(defaults[name]);
    if (wanted !== 'null' && typeOf(value) !== wanted) {
      throw new Fatal(`\`${name}\` must be a ${wanted}, not a ${typeOf(value)}`);
    }
    config[name] = value;
  }
  return config;
}

/**
 * Runs a call. A `Failure` is answered as one; anything else is a mistake of the plugin's author: it goes into the log with its
 * stack, and traps.
 *
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function guarded(call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof Failure) throw { kind: error.kind, message: error.message };
    console.error(error);
    throw error;
  }
}

/**
 * @param {PluginClass} Plugin
 * @param {{name: string, version: string, description: string}} project
 * @param {any} host
 * @param {string[]} methods it must have one of these
 */
function start(Plugin, project, host, methods) {
  if (typeof Plugin !== 'function' || !methods.some((method) => method in Plugin.prototype)) {
    throw new Error(`the default export must be a class with a method ${methods.join(' or ')}`);
  }
  connect(host);
  const { tables = [], reads = [], writes = [], configSchema = '' } = Plugin.manifest ?? {};
  const schema = typeof configSchema === 'string' ? configSchema : JSON.stringify(configSchema);
  const it = {
    plugin: /** @type {any} */ (undefined),
    lifecycle: {
      describe: () => ({ ...project, tables, reads, writes, configSchema: schema }),
      /** @param {string} config */
      open: (config) => guarded(() => void (it.plugin = new Plugin(decodeConfig(config, Plugin.config)))),
    },
  };
  return it;
}

/**
 * @param {PluginClass} Plugin
 * @param {{name: string, version: string, description: string}} project
 * @param {any} host
 */
export function processor(Plugin, project, host) {
  const it = start(Plugin, project, host, ['process', 'processEvent']);
  /** @param {any} lent */
  const process = (lent) =>
    guarded(() => {
      const batch = new Batch(lent);
      if (it.plugin.process) {
        it.plugin.process(batch);
      } else {
        for (const event of batch.events()) {
          const rejected = rejection(() => it.plugin.processEvent(event));
          if (rejected) event.reject(rejected.message);
        }
      }
      batch.flush();
    });
  return { lifecycle: it.lifecycle, processing: { process } };
}

/**
 * @param {PluginClass} Plugin
 * @param {{name: string, version: string, description: string}} project
 * @param {any} host
 */
export function formatter(Plugin, project, host) {
  const it = start(Plugin, project, host, ['format', 'formatEvent']);
  /** @param {any} lent */
  const format = (lent) =>
    guarded(() => {
      const batch = new Batch(lent);
      const bodies = it.plugin.format
        ? it.plugin.format(batch)
        : Array.from(batch.events(), (event) => {
            let body;
            return rejection(() => void (body = it.plugin.formatEvent(event))) ?? body;
          });
      if (bodies.length !== batch.length) {
        throw new Error(`format answered ${bodies.length} bodies for ${batch.length} rows`);
      }
      return messages(bodies);
    });
  return {
    lifecycle: it.lifecycle,
    formatting: { contentType: () => Plugin.contentType ?? 'application/json', format },
  };
}

/**
 * @param {() => void} call
 * @returns {Reject | undefined} the rejection that it threw
 */
function rejection(call) {
  try {
    call();
  } catch (error) {
    if (!(error instanceof Reject)) throw error;
    return error;
  }
}

/**
 * Bodies in one piece: strings and bytes, `null` for a message without a body, a `Reject` for a row that cannot be written.
 *
 * @param {(string | Uint8Array | null | Reject)[]} bodies
 */
function messages(bodies) {
  const encoder = new TextEncoder();
  const present = new Uint8Array(bodies.length);
  const ends = new Uint32Array(bodies.length);
  const rejects = /** @type {[number, string][]} */ ([]);
  const parts = /** @type {Uint8Array[]} */ ([]);
  let length = 0;
  bodies.forEach((body, row) => {
    if (body instanceof Reject) {
      rejects.push([row, body.message]);
    } else if (body === null) {
      present[row] = 2;
    } else if (typeof body === 'string' || isBytes(body)) {
      const bytes = typeof body === 'string' ? encoder.encode(body) : body;
      present[row] = 1;
      parts.push(bytes);
      length += bytes.length;
    } else {
      throw new TypeError(`the body of row ${row} is a ${typeOf(body)}: a string, bytes, null or a Reject is wanted`);
    }
    ends[row] = length;
  });
  const data = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return { bodies: { present, ends, data }, rejects };
}
