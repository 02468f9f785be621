import { Fatal, IMAGES, Reject, Typed, UNAVAILABLE, metrics, type Event } from '../sdk/index.js';

declare const nobody: { home(): void };

export default class Touches {
  static config = { mode: 'all' };
  static manifest = { tables: ['shop.*'], writes: ['*'], configSchema: { type: 'object' } };

  private seen = 0;

  constructor({ mode }: typeof Touches.config) {
    if (mode === 'none') throw new Fatal('`mode` is none');
  }

  processEvent(event: Event): void {
    this.seen += 1;
    metrics.add('seen');
    console.info('an event', { op: event.op, id: event.after('id') });
    switch (event.get(event.has('after') ? 'after' : 'before', 'does')) {
      case 'values': {
        // What was read is written again: nothing changes but what is meant to.
        for (const image of IMAGES) {
          for (const [name, value] of Object.entries(event.image(image) ?? {})) event.set(image, name, value);
        }
        event.set('after', 'big', (event.after('big') as bigint) + 1n);
        event.set('after', 'price', '7.50');
        event.set('after', 'ratio', 2);
        event.set('after', 'doc', { a: [1, null] });
        event.set('after', 'fresh', `${event.after('id') as number} of ${event.table.name}`);
        event.set('after', 'kept', UNAVAILABLE);
        const day = event.after('day');
        if (day instanceof Typed) event.set('after', 'day', new Typed('date', (day.value as number) + 1));
        break;
      }
      case 'marks':
        event.tag('seen');
        event.header('x-id', String(event.after('id')));
        event.route({ topic: 'elsewhere', key: 'k' });
        event.setOp('r');
        event.unset('after', 'price');
        event.emit({ op: 'c', after: { id: 99, does: 'emitted' }, tags: ['new'] });
        break;
      case 'image':
        event.setImage('before', { id: 3, note: 'made' });
        event.setImage('after', null);
        event.setOp('d');
        break;
      case 'drop':
        return event.drop();
      case 'reject':
        throw new Reject(`not ${event.after('id') as number}`);
      case 'mistake':
        return nobody.home();
    }
  }
}
