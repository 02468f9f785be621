/**
 * For writing DeltaForge plugins in JavaScript.
 *
 * A plugin is a class, the default export of the project's `main`. A processor has one of
 *
 * - `process(batch)`: looks at up to 500 events at once, by whole columns: the fast style;
 * - `processEvent(event)`: looks at one event after the other: the easy style.
 *
 * A formatter has `format(batch)`, which answers one body for each row, or `formatEvent(event)`, which answers one.
 * The constructor is given the configuration. See `Plugin` for what else a class may say.
 *
 * Getters answer the batch as it came; edits take effect together when the call has returned. `console.log` and its kin
 * write into the host's log. There are no files, no network, no timers and no true random numbers.
 *
 * @module
 */
export { Batch, Event, IMAGES, OPS, PRESENCE } from './batch.js';
export { Failure, Fatal, Reject, Retry } from './failure.js';
export { clock, metrics } from './host.js';
export { Typed, UNAVAILABLE } from './value.js';
export type Image = import('./batch.js').Image;
export type Op = import('./batch.js').Op;
export type Route = import('./batch.js').Route;
export type NewEvent = import('./batch.js').NewEvent;
export type Table = import('./batch.js').Table;
export type Column = import('./batch.js').Column;
export type Origin = import('./batch.js').Origin;
export type Extras = import('./batch.js').Extras;
export type Entries<T> = import('./batch.js').Entries<T>;
export type Flat = import('./batch.js').Flat;
export type Value = import('./value.js').Value;
export type Plugin = import('./guest.js').Plugin;
/** @typedef {import('./batch.js').Image} Image */
/** @typedef {import('./batch.js').Op} Op */
/** @typedef {import('./batch.js').Route} Route */
/** @typedef {import('./batch.js').NewEvent} NewEvent */
/** @typedef {import('./batch.js').Table} Table */
/** @typedef {import('./batch.js').Column} Column */
/** @typedef {import('./batch.js').Origin} Origin */
/** @typedef {import('./batch.js').Extras} Extras */
/** @template T @typedef {import('./batch.js').Entries<T>} Entries */
/** @typedef {import('./batch.js').Flat} Flat */
/** @typedef {import('./value.js').Value} Value */
/** @typedef {import('./guest.js').Plugin} Plugin */
