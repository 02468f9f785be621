// @ts-check
import { Fatal, IMAGES } from './sdk/index.js';

/** The plugin. One instance sees all batches of one processor, so it may keep state between calls; a call that fails ends it. */
export default class MyPlugin {
  /** What may stand under `config:` in the pipeline's file, with the defaults. */
  static config = {
    /** The column whose digits are hidden. */
    column: '',
  };

  /** @param {typeof MyPlugin.config} config */
  constructor({ column }) {
    if (!column) throw new Fatal('`column` is missing: the column whose digits are hidden');
    this.column = column;
  }

  /** @param {import('./sdk/index.js').Batch} batch */
  process(batch) {
    for (const image of IMAGES) batch.mapTexts(image, this.column, hideDigits);
  }
}

/** @param {string} text */
export function hideDigits(text) {
  return text.replace(/[0-9]/g, '#');
}
