import { Fatal, type Batch, type Op } from '../sdk/index.js';

/** The plugin. */
export default class MyPlugin {
  /** What may stand under `config:` of the sink's envelope, with the defaults. */
  static config = {
    /** The name of the member that holds the row. */
    member: 'row',
  };

  readonly member: string;

  constructor({ member }: typeof MyPlugin.config) {
    if (['', 'table', 'op'].includes(member)) throw new Fatal('`member` must be a name of its own');
    this.member = member;
  }

  format(batch: Batch): string[] {
    const [tables, tableOf] = [batch.tables(), batch.tableOf()];
    const [before, after] = [batch.jsonRows('before'), batch.jsonRows('after')];
    // A deleted row has an image of before only; a truncated table has none.
    return batch.ops().map((op, row) => this.body(tables[tableOf[row]].name, op, after[row] ?? before[row] ?? 'null'));
  }

  /** @param row JSON, which goes in as it is */
  body(table: string, op: Op, row: string): string {
    const text = JSON.stringify;
    return `{"table":${text(table)},"op":${text(op)},${text(this.member)}:${row}}`;
  }
}
