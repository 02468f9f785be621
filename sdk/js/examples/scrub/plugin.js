// @ts-check
import { Fatal, IMAGES, PRESENCE } from './sdk/index.js';

/**
 * Shows the ways to touch a batch at one piece of work: it covers texts that nobody shall read, tags rows whose number is
 * large, and counts a version up. The batch it leaves is the same whichever way it takes.
 *
 * The plugin of a project that `deltaforge plugin new scrub --lang js` makes; the same stands in `sdk/rust/samples/scrub`.
 */
export default class Scrub {
  static config = {
    /** The column of texts that are replaced, in both images. */
    redact: 'email',
    /** What stands there instead. */
    with: '***',
    /** The column whose value decides about the tag `large`. */
    amount: 'amount',
    /** The value that is not large yet. */
    over: 1000,
    /** The column that is counted up in the image after the change. */
    version: 'version',
    /** The way: `columns`, `cells` or `events`. */
    by: 'columns',
  };

  /** @param {typeof Scrub.config} config */
  constructor(config) {
    this.config = config;
    this.cover = new TextEncoder().encode(config.with);
    const ways = { columns: this.columns, cells: this.cells, events: this.events };
    if (!Object.hasOwn(ways, config.by)) throw new Fatal(`\`by\` is columns, cells or events, not ${config.by}`);
    this.way = ways[/** @type {keyof typeof ways} */ (config.by)];
  }

  /** @param {import('./sdk/index.js').Batch} batch */
  process(batch) {
    this.way(batch);
  }

  /** @param {import('./sdk/index.js').Batch} batch */
  columns(batch) {
    const { redact, amount, over, version } = this.config;
    for (const image of IMAGES) {
      const { present } = batch.flats(image, redact);
      const ends = new Uint32Array(present.length);
      let end = 0;
      for (let row = 0; row < present.length; row++) {
        if (present[row] === PRESENCE.VALUE) end += this.cover.length;
        else present[row] = PRESENCE.NONE;
        ends[row] = end;
      }
      const data = new Uint8Array(end);
      for (let at = 0; at < end; at += this.cover.length) data.set(this.cover, at);
      batch.setFlats(image, redact, { present, ends, data });
    }
    const amounts = batch.ints('after', amount);
    const large = BigInt(over);
    batch.tagWhere(
      'large',
      Array.from(amounts.present, (held, row) => held === PRESENCE.VALUE && amounts.values[row] > large),
    );
    const versions = batch.ints('after', version);
    for (let row = 0; row < versions.present.length; row++) {
      if (versions.present[row] === PRESENCE.VALUE) versions.values[row] += 1n;
    }
    batch.setInts('after', version, versions);
  }

  /** @param {import('./sdk/index.js').Batch} batch */
  cells(batch) {
    const [redact, amount, version] = ['redact', 'amount', 'version'].map((name) =>
      batch.column(this.config[/** @type {'redact'} */ (name)]),
    );
    const kinds = batch.tables().map(({ columns }) => columns.find(({ name }) => name === this.config.version)?.kind);
    const tableOf = batch.tableOf();
    for (let row = 0; row < batch.length; row++) {
      for (const image of redact === undefined ? [] : IMAGES) {
        if (typeof batch.get(row, image, redact) === 'string') batch.set(row, image, redact, this.config.with);
      }
      if (amount !== undefined && isOver(batch.get(row, 'after', amount), this.config.over)) batch.tag(row, 'large');
      const held = version === undefined ? undefined : batch.get(row, 'after', version);
      if (typeof held === 'number') batch.set(row, 'after', version, held + 1, kinds[tableOf[row]]);
    }
  }

  /** @param {import('./sdk/index.js').Batch} batch */
  events(batch) {
    const { redact, amount, over, version } = this.config;
    for (const event of batch.events()) {
      for (const image of IMAGES) {
        if (typeof event.get(image, redact) === 'string') event.set(image, redact, this.config.with);
      }
      if (isOver(event.after(amount), over)) event.tag('large');
      const held = event.after(version);
      if (typeof held === 'number') event.set('after', version, held + 1);
    }
  }
}

/** @param {unknown} value @param {number} bound */
const isOver = (value, bound) => (typeof value === 'number' || typeof value === 'bigint') && value > bound;
