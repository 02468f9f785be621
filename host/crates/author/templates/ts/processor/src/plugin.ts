import { Fatal, IMAGES, type Batch } from '../sdk/index.js';

/** The plugin. One instance sees all batches of one processor, so it may keep state between calls; a call that fails ends it. */
export default class MyPlugin {
  /** What may stand under `config:` in the pipeline's file, with the defaults. */
  static config = {
    /** The column whose digits are hidden. */
    column: '',
  };

  readonly column: string;

  constructor({ column }: typeof MyPlugin.config) {
    if (!column) throw new Fatal('`column` is missing: the column whose digits are hidden');
    this.column = column;
  }

  process(batch: Batch): void {
    for (const image of IMAGES) batch.mapTexts(image, this.column, hideDigits);
  }
}

export function hideDigits(text: string): string {
  return text.replace(/[0-9]/g, '#');
}
